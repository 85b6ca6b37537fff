# FCF on a top-down heatmap estimator, ResNet-50, COCO, all of it:
# stage 1, stage 2, the exported network.
stages = [
    dict(name='factorize', config='fcf_topdown_heatmap_resnet50_30e_coco.py'),
    dict(name='finetune', config='fcf_finetune_topdown_heatmap_resnet50_90e_coco.py'),
]
