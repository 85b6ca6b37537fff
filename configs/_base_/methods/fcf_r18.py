# FCF for the ResNet-18 backbone of any OpenMMLab library: both convolutions of every block, not the
# stem and not the shortcuts. The published settings for ImageNet, a quarter of the filters to go.
# Li et al., CVPR 2019.
compression = dict(
    type='mmcompress.FCF',
    mutator_cfg=dict(type='FCFMutator', scope='filter'),
    target_pruning_ratio=0.75,
    rho=0.001,
    mu=1.005,
    alpha=0.65,
)
