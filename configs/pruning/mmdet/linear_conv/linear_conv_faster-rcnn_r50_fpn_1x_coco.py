# LinearConv on Faster R-CNN, ResNet-50 with FPN, COCO: half of the parameters of the backbone's
# 3x3 convolutions, which start from the ImageNet weights that mmdet's config names. The schedule is
# mmdet's. Nothing is published for detectors.
# Counted here: 36.07M parameters stored (41.75M dense, and at run time), 206805M MACs as dense.
_base_ = [
    '../../../dense/dense_faster-rcnn_r50_fpn_1x_coco.py',
    '../../../_base_/methods/linear_conv_r50.py',
]

model = dict(_delete_=True, architecture=_base_.model, **_base_.compression)
