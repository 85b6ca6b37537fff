# FCF on ResNet-50, ImageNet, sparse rate 0.31, all of it:
# stage 1, stage 2, the exported network.
stages = [
    dict(name='factorize', config='fcf_resnet50_30e_in1k_rate31.py'),
    dict(name='finetune', config='fcf_finetune_resnet50_90e_in1k_rate31.py'),
]
