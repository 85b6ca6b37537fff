# Deeply shared bases on ImageNet, MobileNetV2, as in the authors' program; for a batch of 256.
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=1e-5))
param_scheduler = [
    dict(type='MultiStepLR', by_epoch=True, milestones=[150, 225], gamma=0.1),
    dict(type='MultiStepLR', by_epoch=True, milestones=[285], gamma=0.5),
]

train_cfg = dict(by_epoch=True, max_epochs=300, val_interval=1)
val_cfg = {}
test_cfg = {}

auto_scale_lr = dict(base_batch_size=256)
