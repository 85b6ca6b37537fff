# LinearConv on ResNet-18, CIFAR-10, combinations of a rank in proportion.
# Published: 5.64M parameters.
_base_ = [
    '../../../dense/dense_resnet18_250e_cifar10.py',
    '../../../_base_/methods/linear_conv_rankratio.py',
]

# As the authors' program starts.
_base_.compression.mutator_cfg.filter_unit_cfg.default_args.start = 'uniform'

model = dict(_delete_=True, architecture=_base_.model, **_base_.compression)
