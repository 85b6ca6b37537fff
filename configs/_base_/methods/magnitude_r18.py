# Pruning by the L1 norm for the ResNet-18 backbone of any OpenMMLab library: the channels inside of
# its blocks (the residual streams and the stem stay dense), 70 % of which are kept, in one step at
# the start of training. Li et al., ICLR 2017, prune these layers, by rates found layer by layer.
compression = dict(
    type='mmcompress.Magnitude',
    mutator_cfg=dict(
        type='MagnitudeMutator',
        channel_unit_cfg=dict(
            type='MagnitudeUnit', default_args=dict(divisor='auto')
        ),  # docs/latency.md
    ),
    target_pruning_ratio={'backbone.layer[1-4].*.conv1_*': 0.7},
    criterion='l1',
)
