# Filter basis on Faster R-CNN, ResNet-50 with FPN, COCO: half of the parameters of the backbone's
# 3x3 convolutions, which start from the ImageNet weights that mmdet's config names. The schedule is
# mmdet's. Nothing is published for detectors.
# Counted here: 187765M MACs (dense 206805M), 36.08M parameters (41.75M), stored and at run time.
_base_ = [
    '../../../dense/dense_faster-rcnn_r50_fpn_1x_coco.py',
    '../../../_base_/methods/filter_basis_r50.py',
]

model = dict(_delete_=True, architecture=_base_.model, **_base_.compression)
