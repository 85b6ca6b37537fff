# FCF for the ResNet-18 backbone of any OpenMMLab library: both convolutions of every block, not the
# stem and not the shortcuts, a quarter of the filters to go. The settings published for ImageNet, but
# that the penalty grows with the length of training (`mu='auto'`, published 1.005).
# `mmcompress train CONFIG --compress` trains both stages and exports the network.
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
