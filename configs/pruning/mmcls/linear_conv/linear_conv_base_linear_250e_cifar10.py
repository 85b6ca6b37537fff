# LinearConv on the Base network of the paper, CIFAR-10.
_base_ = ['dense_base_250e_cifar10.py', '../../../_base_/methods/linear_conv_linear.py']

model = dict(_delete_=True, architecture=_base_.model, **_base_.compression)

default_hooks = dict(
    compression=dict(type='mmcompress.CompressionHook'),
    reseed=dict(type='mmcompress.ReseedHook'),
)
