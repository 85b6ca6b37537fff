# FCF on Faster R-CNN, ResNet-50 with FPN, COCO, all of it:
# stage 1, stage 2, the exported network.
stages = [
    dict(name='factorize', config='fcf_faster_rcnn_resnet50_12e_coco.py'),
    dict(name='finetune', config='fcf_finetune_faster_rcnn_resnet50_12e_coco.py'),
]
