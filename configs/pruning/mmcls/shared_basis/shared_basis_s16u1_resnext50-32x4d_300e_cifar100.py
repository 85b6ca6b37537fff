# Shared basis on ResNeXt-50, CIFAR-100: in place of 128 filters in 32 groups, 64 shared ones in 16
# groups and 4 unique ones in one; times 2, 4 and 8 for the other stages, whose unique filters have
# as many groups. There are no coefficients but the 1x1 convolutions that follow.
# Published: 19.3M parameters, 1.19G MACs (printed doubled), 20.09 % error.
# The loss counts shared filters only, and takes grouped ones as of one group, as in the authors'
# program.
_base_ = ['../../../dense/dense_resnext50-32x4d_300e_cifar100.py']

_units = {
    f'backbone.layer{_i + 1}*': dict(
        init_args=dict(
            shared_rank=64 * 2**_i,
            shared_groups=16,
            unique_rank=4 * 2**_i,
            unique_groups=2**_i,
        )
    )
    for _i in range(4)
}
model = dict(
    _delete_=True,
    type='mmcompress.SharedBasis',
    architecture=_base_.model,
    mutator_cfg=dict(
        type='SharedBasisMutator',
        parse_cfg=dict(rule='stage', groups=32, skip_first_block=True),
        filter_unit_cfg=dict(
            type='SharedBasisUnit', default_args=dict(coefficients=False), units=_units
        ),
    ),
    orthogonality=10.0,
    orthogonality_terms=dict(unique=False, as_one_group=True),
)
