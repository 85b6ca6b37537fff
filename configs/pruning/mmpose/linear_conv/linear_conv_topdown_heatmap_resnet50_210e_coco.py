# LinearConv on a top-down heatmap estimator, ResNet-50, COCO 256x192: half of the parameters of
# the backbone's 3x3 convolutions, which start from the ImageNet weights that mmpose's config names.
# The schedule is mmpose's. Nothing is published for pose.
# Counted here: 28.31M parameters stored (34.00M dense, and at run time), 5450M MACs as dense.
_base_ = [
    'mmpose::body_2d_keypoint/topdown_heatmap/coco/td-hm_res50_8xb64-210e_coco-256x192.py',
    '../../../_base_/methods/linear_conv_r50.py',
]
custom_imports = dict(imports=['mmcompress'], allow_failed_imports=False)

model = dict(_delete_=True, architecture=_base_.model, **_base_.compression)

flops_shape = (256, 192)  # height and width

default_hooks = dict(
    compression=dict(type='mmcompress.CompressionHook'),
    reseed=dict(type='mmcompress.ReseedHook'),
)
