# Filter basis on super-resolution, as the authors' program trains: Adam, a tenth of the rate for
# the last 100 epochs; for a batch of 16. (The paper's text says half of it: gamma=0.5.)
optim_wrapper = dict(optimizer=dict(type='Adam', lr=1e-4))
param_scheduler = dict(type='MultiStepLR', by_epoch=True, milestones=[200], gamma=0.1)

train_cfg = dict(by_epoch=True, max_epochs=300, val_interval=10)
val_cfg = {}
test_cfg = {}

auto_scale_lr = dict(base_batch_size=16)
