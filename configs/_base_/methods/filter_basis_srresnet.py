# Filter basis for SRResNet, trained from scratch: every convolution of the residual blocks has a
# basis of 14 filters over all of its 64 channels, published as Basis-64-14. A norm and an
# activation follow basis and coefficients alike (the authors' bn_every); the activation behind the
# second coefficients is SRResNet(act_last=True). Li et al., ICCV 2019.
compression = dict(
    type='mmcompress.FilterBasis',
    mutator_cfg=dict(
        type='FilterBasisMutator',
        parse_cfg=dict(rule='layer', include=['backbone.blocks']),
        filter_unit_cfg=dict(
            type='FilterBasisUnit',
            default_args=dict(
                basis_size=64,
                num_filters=14,
                basis_bias=True,
                norm_cfg=dict(type='BN'),
                # All activations of blocks are one PReLU, that of the network, of one slope.
                act_cfg=dict(type='PReLU', shared='backbone.act'),
                basis_start='uniform',
                coefficient_start='torch',
            ),
        ),
    ),
)
