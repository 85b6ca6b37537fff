# Filter basis on VGG-16, CIFAR-10, without biases: the authors' --no_bias. Published: 3.21M
# parameters, 6.18 % error (dense 5.98 %).
# Counted here: 3.23M parameters, 203M MACs.
_base_ = ['../../../dense/dense_vgg16_300e_cifar10.py']

model = dict(
    _delete_=True,
    type='mmcompress.FilterBasis',
    architecture=_base_.model,
    mutator_cfg=dict(
        type='FilterBasisMutator',
        # The first three convolutions stay dense, every other one has a basis of its own.
        parse_cfg=dict(
            rule='layer', include=['backbone'], exclude=['backbone.stage1', 'backbone.stage2.conv1']
        ),
        filter_unit_cfg=dict(
            type='FilterBasisUnit',
            default_args=dict(
                basis_size=128,
                num_filters=128,
                norm_cfg=dict(type='BN'),
                act_cfg=dict(type='ReLU', inplace=True),
                basis_start='uniform',
            ),
        ),
    ),
)
