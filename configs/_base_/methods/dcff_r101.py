# DCFF for the ResNet-101 backbone of any OpenMMLab library (bottlenecks; stems stay dense).
# No rates are published for this network; these follow dcff_r50.py, with the higher ones from the
# middle of the third stage on (which has 23 blocks here).
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
        'backbone.layer3.?.conv1_*': 0.65,
        'backbone.layer3.?.conv2_*': 0.6,
        'backbone.layer*.0.conv3_*': 0.9,
    },
    fuse_interval=1,  # epochs, also where the training loop counts iterations
)
