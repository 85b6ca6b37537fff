# Shared basis for the ResNet-18 backbone of any OpenMMLab library, from its trained weights: the
# 3x3 convolutions of a stage, those of its first block aside, share filters beside some of their
# own, and keep half of their parameters. Nothing stands between filters and coefficients, so that
# singular vectors are a start; the stem and 1x1 convolutions stay dense. Kang & Kim,
# arXiv:2006.05066, for the form: unique ranks double from stage to stage.
compression = dict(
    type='mmcompress.SharedBasis',
    mutator_cfg=dict(
        type='SharedBasisMutator',
        parse_cfg=dict(rule='stage', skip_first_block=True, include='backbone.layer*'),
        filter_unit_cfg=dict(
            type='SharedBasisUnit',
            units={
                f'backbone.layer{_i + 1}*': dict(init_args=dict(unique_rank=8 * 2**_i))
                for _i in range(4)
            },
        ),
    ),
    target_pruning_ratio=0.5,
    init='svd',
    orthogonality=10.0,
    orthogonality_terms=dict(unique=False),  # shared filters only
)
