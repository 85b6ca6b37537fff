# LinearConv for the ResNet-18 backbone of any OpenMMLab library, from its trained weights: every
# 3x3 convolution of the blocks keeps half of its parameters. Primary filters are filters of the
# dense network, the others their combinations. What is exported has the dense network's layers,
# and its time; half of the filters' storage is saved (tools/export.py --store factors).
# Kahatapitiya & Rodrigo, arXiv:1907.11432.
compression = dict(
    type='mmcompress.LinearConv',
    mutator_cfg=dict(
        type='LinearConvMutator',
        parse_cfg=dict(include='backbone.layer*', kernel_size=3),
    ),
    target_pruning_ratio=0.5,
    init='qr',
)
