# LinearConv on ResNeXt-29 2x64d, CIFAR-10, sparse combinations.
_base_ = ['dense_resnext29_250e_cifar10.py', '../../../_base_/methods/linear_conv_sparse.py']

# Without the stem.
_base_.compression.mutator_cfg.parse_cfg.exclude = ['backbone.conv1']
# As the authors' program starts.
_base_.compression.mutator_cfg.filter_unit_cfg.default_args.start = 'uniform'
# Theirs combines across groups: model.mutator_cfg.filter_unit_cfg.default_args.across_groups=True
# Theirs counts evaluation passes too: model.count_evaluation=True

model = dict(_delete_=True, architecture=_base_.model, **_base_.compression)

default_hooks = dict(
    compression=dict(type='mmcompress.CompressionHook'),
    reseed=dict(type='mmcompress.ReseedHook'),
)
