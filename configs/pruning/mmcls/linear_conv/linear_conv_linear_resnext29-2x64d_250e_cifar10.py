# LinearConv on ResNeXt-29 2x64d, CIFAR-10.
# Counted here: 6,474,570 parameters across groups (option below), 6,345,546 within.
_base_ = [
    '../../../dense/dense_resnext29-2x64d_250e_cifar10.py',
    '../../../_base_/methods/linear_conv_linear.py',
]

# Without the stem.
_base_.compression.mutator_cfg.parse_cfg.exclude = ['backbone.conv1']
# As the authors' program starts.
_base_.compression.mutator_cfg.filter_unit_cfg.default_args.start = 'uniform'
# Theirs combines across groups: model.mutator_cfg.filter_unit_cfg.default_args.across_groups=True

model = dict(_delete_=True, architecture=_base_.model, **_base_.compression)
