# FCF for the ResNet-18 backbone of any OpenMMLab library: both convolutions of every block, not the
# stem and not the shortcuts, a quarter of the filters to go. The settings published for ImageNet,
# except that the length of training decides how fast the penalty grows (published: `mu=1.005`).
# With --compress, both stages are trained, and the network is exported.
# Li et al., CVPR 2019.
compression = dict(
    type='mmcompress.FCF',
    mutator_cfg=dict(type='FCFMutator', scope='filter'),
    target_pruning_ratio=0.75,
    rho=0.001,
    alpha=0.65,
)
compression_stages = [
    dict(name='factorize'),
    dict(name='finetune', cfg_options=dict(model=dict(stage='finetune'))),
]
