# LinearConv on MobileNetV2, CIFAR-10. 2.83M parameters, more than the dense network's 2.30M: the
# combinations of a 1x1 convolution are more weights than the filters that they stand for. Depthwise
# convolutions have one filter in each group, nothing to combine, and stay dense.
# Counted here: 3,923,434 parameters across groups (option below), 2,827,482 within.
_base_ = [
    '../../../dense/dense_mobilenet-v2_250e_cifar10.py',
    '../../../_base_/methods/linear_conv_linear.py',
]

# As the authors' program starts.
_base_.compression.mutator_cfg.filter_unit_cfg.default_args.start = 'uniform'
# Theirs combines across groups: model.mutator_cfg.filter_unit_cfg.default_args.across_groups=True

model = dict(_delete_=True, architecture=_base_.model, **_base_.compression)
