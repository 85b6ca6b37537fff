# LinearConv on ResNet-20, from scratch: half of the parameters, combinations of rank 4.
_base_ = ['linear_conv_resnet20_linear_digits.py']

model = dict(
    mutator_cfg=dict(filter_unit_cfg=dict(default_args=dict(variant='lowrank', rank=4))),
)
