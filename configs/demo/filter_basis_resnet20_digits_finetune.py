# Filter basis on ResNet-20, fine-tuned: one basis for each stage, half of the parameters. Starts
# from dense_resnet20_digits.py; filter_basis_resnet20_digits.py runs both. A fifth of the dense
# network's learning rate and of its epochs.
# Measured from one dense network (100.0), seeds 0, 1, 2 of fine-tuning: 28.5 before, 99.75, 99.75
# and 100.0 after; with model.init=kaiming 10.0 before, 94.0, 94.75 and 92.5 after.
_base_ = ['dense_resnet20_digits.py']

model = dict(
    _delete_=True,
    type='mmcompress.FilterBasis',
    architecture=_base_.model,
    mutator_cfg=dict(
        type='FilterBasisMutator',
        parse_cfg=dict(rule='stage', include='backbone.layer*'),
    ),
    target_pruning_ratio=0.5,
    init='svd',
)

optim_wrapper = dict(optimizer=dict(lr=0.01))
param_scheduler = dict(
    _delete_=True,
    type='CosineAnnealingLR',
    T_max=3,
    eta_min=0.0,
    by_epoch=True,
    convert_to_iter_based=True,
)
train_cfg = dict(max_epochs=3)
