# Filter basis on super-resolution, as the paper's text says: Adam, half of the rate for the last
# 100 epochs; for a batch of 16. (The authors' scripts leave a tenth.)
optim_wrapper = dict(optimizer=dict(type='Adam', lr=1e-4))
param_scheduler = dict(type='MultiStepLR', by_epoch=True, milestones=[200], gamma=0.5)

train_cfg = dict(by_epoch=True, max_epochs=300, val_interval=10)
val_cfg = {}
test_cfg = {}

auto_scale_lr = dict(base_batch_size=16)
