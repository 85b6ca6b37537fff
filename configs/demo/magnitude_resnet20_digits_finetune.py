# What FCF is measured against: half of the channels of each unit, those of the smallest L1 norm in
# the dense network, go before training begins (Li et al., ICLR 2017); the others are trained on as
# FCF's are.
_base_ = ['dense_resnet20_digits.py']

model = dict(
    _delete_=True,
    type='mmcompress.Magnitude',
    architecture=_base_.model,
    target_pruning_ratio=0.5,
    criterion='l1',
)

optim_wrapper = dict(
    _delete_=True, optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=1e-4)
)
param_scheduler = dict(
    _delete_=True, type='MultiStepLR', by_epoch=True, milestones=[6, 12], gamma=0.1
)
train_cfg = dict(max_epochs=15)
