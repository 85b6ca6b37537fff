# LinearConv on VGG-11, CIFAR-10, sparse combinations.
_base_ = ['dense_vgg11_250e_cifar10.py', '../../../_base_/methods/linear_conv_sparse.py']

# As the authors' program starts.
_base_.compression.mutator_cfg.filter_unit_cfg.default_args.start = 'uniform'
# Theirs counts evaluation passes too: model.count_evaluation=True

model = dict(_delete_=True, architecture=_base_.model, **_base_.compression)

default_hooks = dict(
    compression=dict(type='mmcompress.CompressionHook'),
    reseed=dict(type='mmcompress.ReseedHook'),
)
