# Filter basis for the ResNet-18 backbone of any OpenMMLab library, from its trained weights: every
# 3x3 convolution of the blocks has a basis of its own, with half of its parameters. So it keeps
# half of its MACs as well, and nothing has to be merged on export; bases that several layers share
# save storage alone. Nothing stands between basis and coefficients, for which singular vectors are
# the best start. The stem and 1x1 convolutions stay dense. Li et al., ICCV 2019, for the form.
# Relative reconstruction errors at equal parameters, bases by layer, block, stage: 0.445, 0.446,
# 0.458 in the segmenter of the demo; in its pose estimator, whose filters are nearer to random
# ones, 0.595, 0.584, 0.584.
compression = dict(
    type='mmcompress.FilterBasis',
    mutator_cfg=dict(
        type='FilterBasisMutator',
        parse_cfg=dict(rule='layer', include='backbone.layer*'),
    ),
    target_pruning_ratio=0.5,
    init='svd',
)
