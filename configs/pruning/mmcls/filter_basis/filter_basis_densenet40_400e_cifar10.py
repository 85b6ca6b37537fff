# Filter basis on DenseNet-40, CIFAR-10, as the authors' published command trains it: one basis of
# 36 filters for the whole network, of which each layer uses as many channels as it has, and 3x3
# coefficients. Counted here: 354k parameters.
_base_ = ['../../../dense/dense_densenet40_300e_cifar10.py']

# Transitions between blocks are two 1x1 convolutions with a sixth of the channels between.
_base_.model.backbone.transition_reduction = 6
model = dict(
    _delete_=True,
    type='mmcompress.FilterBasis',
    architecture=_base_.model,
    mutator_cfg=dict(
        type='FilterBasisMutator',
        parse_cfg=dict(rule=dict(growth=['backbone.layer[1-3]']), min_channels=12),
        filter_unit_cfg=dict(
            type='FilterBasisUnit',
            default_args=dict(
                basis_size='slice',
                num_filters=36,
                norm_cfg=dict(type='BN'),
                act_cfg=dict(type='ReLU', inplace=True),
                basis_bias=True,
                coefficient_bias=True,
                coefficient_kernel=3,
                basis_start='uniform',
                coefficient_start='fan_in',
            ),
        ),
    ),
)

param_scheduler = dict(milestones=[250, 325])
train_cfg = dict(max_epochs=400)
