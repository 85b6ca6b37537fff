# DCFF for the ResNet-18 backbone of any OpenMMLab library (basic blocks; stems stay dense).
# No rates are published for this network; these follow dcff_r50.py: of the blocks' inner
# convolutions 65 % in the first two stages and 70 % in the last two, 90 % of the residual streams.
# The first stage's stream is the stem's as well and stays dense, as the stem does there.
compression = dict(
    type='mmcompress.DCFF',
    mutator_cfg=dict(
        type='DCFFMutator',
        channel_unit_cfg=dict(
            type='DCFFUnit', default_args=dict(divisor='auto')
        ),  # docs/latency.md
    ),
    target_pruning_ratio={
        'backbone.layer[1-4].*.conv1_*': 0.7,
        'backbone.layer[12].*.conv1_*': 0.65,
        'backbone.layer[2-4].0.conv2_*': 0.9,
    },
    fuse_interval=1,  # epochs, also where the training loop counts iterations
)
