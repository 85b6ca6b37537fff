# Faster R-CNN, ResNet-50 with FPN, COCO, as mmdet has it.
_base_ = [
    'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py',
    '../_base_/runtime.py',
]

flops_shape = (3, 800, 1280)  # (C, H, W)

default_hooks = _base_.hooks
