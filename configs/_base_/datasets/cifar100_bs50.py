# With mean and standard deviation as in LinearConv (Kahatapitiya & Rodrigo, WACV 2021).
_base_ = ['mmpretrain::_base_/datasets/cifar100_bs16.py']

data_preprocessor = dict(
    mean=[129.3105, 124.083, 112.4295],
    std=[51.2295, 50.592, 51.5865],
)

train_dataloader = dict(batch_size=50)
val_dataloader = dict(batch_size=50)
test_dataloader = dict(batch_size=50)
