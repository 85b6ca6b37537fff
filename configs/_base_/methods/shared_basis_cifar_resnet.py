# Shared basis for CIFAR ResNets, S8U1: 8 shared filters for the first stage and one unique filter
# for each of its layers, 16 and 2 for the second, 32 and 4 for the third.
# Kang & Kim, arXiv:2006.05066.
compression = dict(
    type='mmcompress.SharedBasis',
    mutator_cfg=dict(
        type='SharedBasisMutator',
        parse_cfg=dict(rule='stage', skip_first_block=True, by_position=False),
        filter_unit_cfg=dict(
            type='SharedBasisUnit',
            default_args=dict(norm_cfg=dict(type='BN')),
            units={
                f'backbone.layer{_i + 1}*': dict(
                    init_args=dict(shared_rank=8 * 2**_i, unique_rank=2**_i)
                )
                for _i in range(3)
            },
        ),
    ),
    orthogonality=10.0,
    orthogonality_terms=dict(unique=False),  # shared filters only
)
