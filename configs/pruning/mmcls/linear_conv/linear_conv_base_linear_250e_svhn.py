# LinearConv on the Base network of the paper, SVHN.
_base_ = ['dense_base_250e_svhn.py', '../../../_base_/methods/linear_conv_linear.py']

# As the authors' program starts.
_base_.compression.mutator_cfg.filter_unit_cfg.default_args.start = 'uniform'

model = dict(_delete_=True, architecture=_base_.model, **_base_.compression)

default_hooks = dict(
    compression=dict(type='mmcompress.CompressionHook'),
    reseed=dict(type='mmcompress.ReseedHook'),
)
