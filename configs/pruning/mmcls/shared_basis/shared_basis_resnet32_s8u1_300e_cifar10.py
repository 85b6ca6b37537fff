# Shared basis on ResNet-32, CIFAR-10: 8 shared filters for the first stage and one unique filter
# for each of its layers, 16 and 2 for the second, 32 and 4 for the third.
# Published: 0.15M parameters, 0.05G MACs (printed doubled), 8.08 % error.
_base_ = ['dense_resnet32_300e_cifar10.py']

_units = {
    f'backbone.layer{_i + 1}*': dict(init_args=dict(shared_rank=8 * 2**_i, unique_rank=2**_i))
    for _i in range(3)
}
model = dict(
    _delete_=True,
    type='mmcompress.SharedBasis',
    architecture=_base_.model,
    mutator_cfg=dict(
        type='SharedBasisMutator',
        parse_cfg=dict(rule='stage', skip_first_block=True, by_position=False),
        filter_unit_cfg=dict(
            type='SharedBasisUnit',
            default_args=dict(norm_cfg=dict(type='BN')),
            units=_units,
        ),
    ),
    orthogonality=10.0,
)

default_hooks = dict(
    compression=dict(type='mmcompress.CompressionHook'),
    reseed=dict(type='mmcompress.ReseedHook'),
)
