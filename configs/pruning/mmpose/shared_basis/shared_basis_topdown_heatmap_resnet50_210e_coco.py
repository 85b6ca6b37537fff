# Shared basis on a top-down heatmap estimator, ResNet-50, COCO 256x192: half of the parameters of
# the backbone's 3x3 convolutions, which start from the ImageNet weights that mmpose's config names.
# The schedule is mmpose's. Nothing is published for pose.
# Counted here: 29.90M parameters stored (dense 34.00M); at run time 33.01M and 5354M MACs (5450M).
_base_ = [
    'mmpose::body_2d_keypoint/topdown_heatmap/coco/td-hm_res50_8xb64-210e_coco-256x192.py',
    '../../../_base_/methods/shared_basis_r50.py',
]
custom_imports = dict(imports=['mmcompress'], allow_failed_imports=False)

model = dict(_delete_=True, architecture=_base_.model, **_base_.compression)

flops_shape = (256, 192)  # height and width

default_hooks = dict(
    compression=dict(type='mmcompress.CompressionHook'),
    reseed=dict(type='mmcompress.ReseedHook'),
)
