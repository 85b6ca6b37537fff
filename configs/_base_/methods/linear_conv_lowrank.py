# LinearConv with combinations of a constant rank. The authors' code and README don't state the rank
# of the published networks; 1 is the default of their layer.
_base_ = ['linear_conv_linear.py']

compression = dict(
    mutator_cfg=dict(filter_unit_cfg=dict(default_args=dict(variant='lowrank', rank=1))),
)
