# LinearConv on the Base network of the paper, CIFAR-10.
_base_ = [
    '../../../dense/dense_base_250e_cifar10.py',
    '../../../_base_/methods/linear_conv_linear.py',
]

# As the authors' program starts.
_base_.compression.mutator_cfg.filter_unit_cfg.default_args.start = 'uniform'

model = dict(_delete_=True, architecture=_base_.model, **_base_.compression)
