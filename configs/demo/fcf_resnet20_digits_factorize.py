# FCF on ResNet-20, first stage: which half of the filters of each layer can go. Starts from the
# dense network of dense_resnet20_digits.py; fcf_resnet20_digits.py runs both. As published, with
# 660 steps in the place of 11,730: the penalty grows five times as fast, and the learning rate
# stays at 0.1 for two thirds of them.
_base_ = ['dense_resnet20_digits.py']

model = dict(
    _delete_=True,
    type='mmcompress.FCF',
    architecture=_base_.model,
    mutator_cfg=dict(type='FCFMutator', scope='filter'),
    target_pruning_ratio=0.5,
    mu=1.05,
)

optim_wrapper = dict(_delete_=True, optimizer=dict(type='SGD', lr=0.1))
param_scheduler = dict(
    _delete_=True, type='MultiStepLR', by_epoch=True, milestones=[20, 25], gamma=0.1
)
train_cfg = dict(max_epochs=30)
