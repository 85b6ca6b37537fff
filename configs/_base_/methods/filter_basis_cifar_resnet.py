# Filter basis for CIFAR ResNets, with the published sizes of ResNet-56: 16/24, 32/48, 64/84.
# Li et al., ICCV 2019.

# The first convolution of a stage reads what the stage before puts out, with that one's basis.
_rule = dict(
    group1=['backbone.layer1', 'backbone.layer2.0.conv1'],
    group2=['backbone.layer2.0.conv2', 'backbone.layer2.[1-8]', 'backbone.layer3.0.conv1'],
    group3=['backbone.layer3.0.conv2', 'backbone.layer3.[1-8]'],
)
_sizes = dict(group1=(16, 24), group2=(32, 48), group3=(64, 84))
compression = dict(
    type='mmcompress.FilterBasis',
    mutator_cfg=dict(
        type='FilterBasisMutator',
        parse_cfg=dict(rule=_rule),
        filter_unit_cfg=dict(
            type='FilterBasisUnit',
            default_args=dict(basis_bias=True, coefficient_bias=True),
            units={
                _name: dict(init_args=dict(basis_size=_size, num_filters=_number))
                for _name, (_size, _number) in _sizes.items()
            },
        ),
    ),
)
