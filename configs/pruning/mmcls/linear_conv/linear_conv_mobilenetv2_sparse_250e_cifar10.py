# LinearConv on MobileNetV2, CIFAR-10, sparse combinations.
_base_ = ['dense_mobilenetv2_250e_cifar10.py', '../../../_base_/methods/linear_conv_sparse.py']

model = dict(_delete_=True, architecture=_base_.model, **_base_.compression)

default_hooks = dict(
    compression=dict(type='mmcompress.CompressionHook'),
    reseed=dict(type='mmcompress.ReseedHook'),
)
