# LinearConv on ResNet-20, from scratch: half of the parameters, combinations whose rank is a tenth
# of the number of primary filters.
_base_ = ['linear_conv_resnet20_linear_digits.py']

model = dict(
    mutator_cfg=dict(filter_unit_cfg=dict(default_args=dict(variant='rankratio', rank_ratio=0.1))),
)
