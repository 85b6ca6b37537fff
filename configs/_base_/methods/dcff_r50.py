# DCFF for the ResNet-50 backbone of any OpenMMLab library (bottlenecks; stems stay dense).
# Keep ratios as published for classification, detection and segmentation: of the blocks' inner
# convolutions 65 % and 60 % in the first ten blocks, 70 % and 70 % in the last six, and 90 % of
# the residual streams. Lin et al., arXiv:2107.06916.
compression = dict(
    type='mmcompress.DCFF',
    mutator_cfg=dict(
        type='DCFFMutator',
        channel_unit_cfg=dict(
            type='DCFFUnit', default_args=dict(divisor='auto')
        ),  # docs/latency.md
    ),
    target_pruning_ratio={
        'backbone.layer[1-4].*.conv[12]_*': 0.7,
        'backbone.layer[12].*.conv1_*': 0.65,
        'backbone.layer[12].*.conv2_*': 0.6,
        'backbone.layer3.[0-2].conv1_*': 0.65,
        'backbone.layer3.[0-2].conv2_*': 0.6,
        'backbone.layer*.0.conv3_*': 0.9,
    },
    fuse_interval=1,  # epochs, also where the training loop counts iterations
)
