# FCF on the pose estimator of the demo, first stage, with the method file of every ResNet-18: which
# quarter of the filters of each layer can go. Starts from dense_heatmap_r18_digits.py. As
# fcf_resnet20_digits_factorize.py, in fewer steps; the penalty is at its largest after 180.
# Scalars of filters that have no gradient are equal, and stay so; rounding tells them apart.
_base_ = ['dense_heatmap_r18_digits.py', '../_base_/methods/fcf_r18.py']

model = dict(_delete_=True, architecture=_base_.model, **dict(_base_.compression, mu=1.05))

optim_wrapper = dict(optimizer=dict(_delete_=True, type='SGD', lr=0.1))
param_scheduler = dict(
    _delete_=True, type='MultiStepLR', by_epoch=True, milestones=[11, 12], gamma=0.1
)
train_cfg = dict(max_epochs=13)
