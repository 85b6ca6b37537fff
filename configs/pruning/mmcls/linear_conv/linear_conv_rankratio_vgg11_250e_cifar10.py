# LinearConv on VGG-11, CIFAR-10, combinations of a rank in proportion.
# Published: 4.65M parameters.
_base_ = [
    '../../../dense/dense_vgg11_250e_cifar10.py',
    '../../../_base_/methods/linear_conv_rankratio.py',
]

# As the authors' program starts.
_base_.compression.mutator_cfg.filter_unit_cfg.default_args.start = 'uniform'

model = dict(_delete_=True, architecture=_base_.model, **_base_.compression)
