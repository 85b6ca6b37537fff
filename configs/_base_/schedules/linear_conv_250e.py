# LinearConv on CIFAR, SVHN and MNIST; for a batch of 50.
optim_wrapper = dict(optimizer=dict(type='Adam', lr=1e-3))

train_cfg = dict(by_epoch=True, max_epochs=250, val_interval=1)
val_cfg = {}
test_cfg = {}

auto_scale_lr = dict(base_batch_size=50)
