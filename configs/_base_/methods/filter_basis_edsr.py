# Filter basis for EDSR, trained from scratch: every convolution of the residual blocks has a basis
# of 27 filters over all of its channels, published as Basis-128-27 for EDSR-8-128. The first, last
# and upsampling convolutions stay dense. To start from a trained network: filter_basis_sr.py.
# Li et al., ICCV 2019.
compression = dict(
    type='mmcompress.FilterBasis',
    mutator_cfg=dict(
        type='FilterBasisMutator',
        # rule='block': both convolutions of a block share one, published as Basis-S.
        parse_cfg=dict(rule='layer', include=['backbone.blocks']),
        filter_unit_cfg=dict(
            type='FilterBasisUnit',
            default_args=dict(
                basis_size=128,
                num_filters=27,
                basis_bias=True,
                basis_start='uniform',
                coefficient_start='uniform',
            ),
        ),
    ),
)
