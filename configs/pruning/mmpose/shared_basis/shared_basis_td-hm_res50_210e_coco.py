# Shared basis on a top-down heatmap estimator, ResNet-50, COCO 256x192: half of the parameters of
# the backbone's 3x3 convolutions, which start from the ImageNet weights that mmpose's config names.
# The schedule is mmpose's. Nothing is published for pose.
# Counted here: 29.90M parameters stored (dense 34.00M); at run time 33.01M and 5354M MACs (5450M).
_base_ = [
    '../../../dense/dense_td-hm_res50_210e_coco.py',
    '../../../_base_/methods/shared_basis_r50.py',
]

model = dict(_delete_=True, architecture=_base_.model, **_base_.compression)
