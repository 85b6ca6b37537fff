# LinearConv on PointRend, ResNetV1c-50, Cityscapes 512x1024: half of the parameters of the
# backbone's 3x3 convolutions, which start from the ImageNet weights that mmseg's config names. The
# schedule is mmseg's. Nothing is published for segmenters.
# Counted here: 23.03M parameters stored (28.72M dense, and at run time), 94619M MACs of a
# prediction as dense.
_base_ = [
    'mmseg::point_rend/pointrend_r50_4xb2-80k_cityscapes-512x1024.py',
    '../../../_base_/methods/linear_conv_r50.py',
]
custom_imports = dict(imports=['mmcompress'], allow_failed_imports=False)

model = dict(_delete_=True, architecture=_base_.model, **_base_.compression)

flops_shape = (512, 1024)  # height and width

default_hooks = dict(
    compression=dict(type='mmcompress.CompressionHook'),
    reseed=dict(type='mmcompress.ReseedHook'),
)
