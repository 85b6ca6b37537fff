# LinearConv with combinations of a rank in proportion to the primary filters. The ratio of the
# published networks isn't stated. Counted here: for the published parameters of VGG-11 it has to be
# in [10/256, 15/256), for those of ResNet-18 in [13/256, 16/256); AllConv needs another one.
_base_ = ['linear_conv_linear.py']

compression = dict(
    mutator_cfg=dict(filter_unit_cfg=dict(default_args=dict(variant='rankratio', rank_ratio=0.055)))
)
