# LinearConv on PointRend, ResNetV1c-50, Cityscapes 512x1024: half of the parameters of the
# backbone's 3x3 convolutions, which start from the ImageNet weights that mmseg's config names. The
# schedule is mmseg's. Nothing is published for segmenters.
# Counted here: 23.03M parameters stored (28.72M dense, and at run time), 94619M MACs of a
# prediction as dense.
_base_ = [
    '../../../dense/dense_pointrend_r50_80k_cityscapes.py',
    '../../../_base_/methods/linear_conv_r50.py',
]

model = dict(_delete_=True, architecture=_base_.model, **_base_.compression)
