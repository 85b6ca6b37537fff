# Filter basis for the residual blocks of EDSR and SRResNet, from their trained weights: every 3x3
# convolution of a block has a basis of its own over all of its input channels, as in the paper,
# with half of its parameters and MACs. The first, last and upsampling convolutions stay dense.
# Li et al., ICCV 2019, for the form.
compression = dict(
    type='mmcompress.FilterBasis',
    mutator_cfg=dict(
        type='FilterBasisMutator',
        parse_cfg=dict(rule='layer', include='backbone.blocks*'),
    ),
    target_pruning_ratio=0.5,
    init='svd',
)
