# LinearConv on the Base network of the paper, SVHN, combinations of a rank in proportion.
_base_ = ['dense_base_250e_svhn.py', '../../../_base_/methods/linear_conv_rankratio.py']

model = dict(_delete_=True, architecture=_base_.model, **_base_.compression)

default_hooks = dict(
    compression=dict(type='mmcompress.CompressionHook'),
    reseed=dict(type='mmcompress.ReseedHook'),
)
