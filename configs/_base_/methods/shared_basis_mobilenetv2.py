# Shared basis for MobileNetV2 as the authors of the paper have it: one 1x1 expansion for all blocks
# but the first of each of the stages 3 to 6. Kang & Kim, arXiv:2006.05066.
compression = dict(
    type='mmcompress.SharedBasis',
    mutator_cfg=dict(
        type='SharedBasisMutator',
        parse_cfg=dict(
            rule={f'stage{_i}': [f'backbone.layer{_i}.[123].conv1'] for _i in range(3, 7)},
            kernel_size=1,
        ),
        filter_unit_cfg=dict(
            type='SharedBasisUnit',
            default_args=dict(shared_rank='full', unique_rank=0, coefficients=False),
        ),
    ),
    orthogonality=10.0,
    orthogonality_terms=dict(unique=False),  # shared filters only
)
