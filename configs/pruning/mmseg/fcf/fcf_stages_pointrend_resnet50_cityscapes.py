# FCF on PointRend, ResNetV1c-50, Cityscapes, all of it:
# stage 1, stage 2, the exported network.
stages = [
    dict(name='factorize', config='fcf_pointrend_resnet50_30k_cityscapes.py'),
    dict(name='finetune', config='fcf_finetune_pointrend_resnet50_80k_cityscapes.py'),
]
