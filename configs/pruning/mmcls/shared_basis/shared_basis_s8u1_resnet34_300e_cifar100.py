# Shared basis on ResNet-34, CIFAR-100: 8 shared filters for the first stage and one unique filter
# for each of its layers, times 2, 4 and 8 for the others.
# Published: 5.87M parameters, 0.40G MACs (printed doubled), 23.11 % error.
# The loss counts shared filters only, as in all the authors' programs but the one for CIFAR-10.
_base_ = ['../../../dense/dense_resnet34_300e_cifar100.py']

_units = {
    f'backbone.layer{_i + 1}*': dict(init_args=dict(shared_rank=8 * 2**_i, unique_rank=2**_i))
    for _i in range(4)
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
    orthogonality_terms=dict(unique=False),
)
