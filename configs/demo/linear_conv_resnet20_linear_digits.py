# LinearConv on ResNet-20, from scratch as in the paper: half of the parameters of every
# convolution, filters that are any linear combinations of the primary ones.
_base_ = ['dense_resnet20_digits.py']

model = dict(
    _delete_=True,
    type='mmcompress.LinearConv',
    architecture=_base_.model,
    mutator_cfg=dict(
        type='LinearConvMutator',
        filter_unit_cfg=dict(type='LinearConvUnit', default_args=dict(variant='linear')),
    ),
    target_pruning_ratio=0.5,
)
