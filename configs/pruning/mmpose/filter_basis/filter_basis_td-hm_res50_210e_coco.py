# Filter basis on a top-down heatmap estimator, ResNet-50, COCO 256x192: half of the parameters of
# the backbone's 3x3 convolutions, which start from the ImageNet weights that mmpose's config names.
# The schedule is mmpose's. Nothing is published for pose.
# Counted here: 4536M MACs (dense 5450M), 28.33M parameters (34.00M), stored and at run time.
_base_ = [
    '../../../dense/dense_td-hm_res50_210e_coco.py',
    '../../../_base_/methods/filter_basis_r50.py',
]

model = dict(_delete_=True, architecture=_base_.model, **_base_.compression)
