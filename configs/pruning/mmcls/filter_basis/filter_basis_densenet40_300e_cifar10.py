# Filter basis on DenseNet-40, CIFAR-10: one basis of 36 filters for the whole network, of which
# each layer uses as many channels as it has. Transitions between blocks stay dense.
_base_ = ['dense_densenet40_300e_cifar10.py']

model = dict(
    _delete_=True,
    type='mmcompress.FilterBasis',
    architecture=_base_.model,
    mutator_cfg=dict(
        type='FilterBasisMutator',
        parse_cfg=dict(rule=dict(growth=['backbone.layer[1-3]']), min_channels=12),
        filter_unit_cfg=dict(
            type='FilterBasisUnit',
            default_args=dict(
                basis_size='slice',
                num_filters=36,
                norm_cfg=dict(type='BN'),
                act_cfg=dict(type='ReLU', inplace=True),
                basis_bias=True,
                coefficient_bias=True,
            ),
        ),
    ),
)

default_hooks = dict(
    compression=dict(type='mmcompress.CompressionHook'),
    reseed=dict(type='mmcompress.ReseedHook'),
)
