# LinearConv on every convolution of the backbone: half of its filters are primary, the others any
# linear combinations of them. Kahatapitiya & Rodrigo, arXiv:1907.11432.
compression = dict(
    type='mmcompress.LinearConv',
    mutator_cfg=dict(
        type='LinearConvMutator',
        parse_cfg=dict(include=['backbone']),
        filter_unit_cfg=dict(
            type='LinearConvUnit', default_args=dict(variant='linear', primary_ratio=0.5)
        ),
    ),
    correlation=0.01,
    loss_interval=10,
)
