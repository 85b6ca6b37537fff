# LinearConv on AllConv, CIFAR-10.
# Published: 0.74M parameters.
_base_ = ['dense_all_conv_350e_cifar10.py', '../../../_base_/methods/linear_conv_linear.py']

# Without the convolution that classifies.
_base_.compression.mutator_cfg.parse_cfg.exclude = ['backbone.layers.conv9']

model = dict(_delete_=True, architecture=_base_.model, **_base_.compression)

default_hooks = dict(
    compression=dict(type='mmcompress.CompressionHook'),
    reseed=dict(type='mmcompress.ReseedHook'),
)
