# LinearConv on a top-down heatmap estimator, ResNet-50, COCO 256x192: half of the parameters of
# the backbone's 3x3 convolutions, which start from the ImageNet weights that mmpose's config names.
# The schedule is mmpose's. Nothing is published for pose.
# Counted here: 28.31M parameters stored (34.00M dense, and at run time), 5450M MACs as dense.
_base_ = [
    '../../../dense/dense_td-hm_res50_210e_coco.py',
    '../../../_base_/methods/linear_conv_r50.py',
]

model = dict(_delete_=True, architecture=_base_.model, **_base_.compression)
