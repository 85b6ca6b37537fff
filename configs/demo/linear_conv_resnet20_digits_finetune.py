# LinearConv on ResNet-20, fine-tuned: half of the parameters of every convolution. Starts from
# dense_resnet20_digits.py; linear_conv_resnet20_digits.py runs both. Two fifths of the dense
# network's learning rate and of its epochs.
# Measured, seed 0: 99.25 (dense 100.0). What shorter trainings and other starts give:
# docs/linear_conv.md.
_base_ = ['dense_resnet20_digits.py']

model = dict(
    _delete_=True,
    type='mmcompress.LinearConv',
    architecture=_base_.model,
    mutator_cfg=dict(type='LinearConvMutator'),
    target_pruning_ratio=0.5,
    init='qr',
)

optim_wrapper = dict(optimizer=dict(lr=0.02))
param_scheduler = dict(
    _delete_=True,
    type='CosineAnnealingLR',
    T_max=6,
    eta_min=0.0,
    by_epoch=True,
    convert_to_iter_based=True,
)
train_cfg = dict(max_epochs=6)
