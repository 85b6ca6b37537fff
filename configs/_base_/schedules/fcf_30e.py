# Stage 1 of FCF, 30 epochs of plain SGD, on CIFAR (a batch of 128) and on ImageNet (256).
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.1))
param_scheduler = dict(type='MultiStepLR', by_epoch=True, milestones=[10, 20], gamma=0.1)

train_cfg = dict(by_epoch=True, max_epochs=30, val_interval=1)
val_cfg = {}
test_cfg = {}
