# Shared basis on ResNet-20 with the published ranks of S8U1, trained from scratch as the dense
# network is: 8 shared filters for the first stage and a unique one for each of its layers, 16 and 2
# for the second, 32 and 4 for the third.
# Measured, seed 0: top-1 99.0 (dense 100.0). 125k parameters stored (270k), 30M MACs (41M).
_base_ = ['dense_resnet20_digits.py']

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
        parse_cfg=dict(rule='stage', skip_first_block=True),
        filter_unit_cfg=dict(
            type='SharedBasisUnit',
            default_args=dict(norm_cfg=dict(type='BN')),
            units=_units,
        ),
    ),
    orthogonality=10.0,
)
