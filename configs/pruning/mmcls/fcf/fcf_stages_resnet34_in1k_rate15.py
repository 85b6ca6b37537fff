# FCF on ResNet-34, ImageNet, sparse rate 0.15, all of it:
# stage 1, stage 2, the exported network.
stages = [
    dict(name='factorize', config='fcf_resnet34_30e_in1k_rate15.py'),
    dict(name='finetune', config='fcf_finetune_resnet34_90e_in1k_rate15.py'),
]
