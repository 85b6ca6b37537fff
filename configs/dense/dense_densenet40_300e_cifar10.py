# DenseNet-40, CIFAR-10, dense, trained as ResNet-56 with Nesterov momentum.
_base_ = [
    '../_base_/models/densenet40_cifar.py',
    '../_base_/datasets/cifar10_bs128_std.py',
    '../_base_/schedules/cifar_300e.py',
    '../_base_/cls_runtime.py',
]

# The authors' start.
model = dict(
    backbone=dict(init_cfg=dict(type='Kaiming', layer='Conv2d', mode='fan_in')),
    head=dict(init_cfg=dict(type='Normal', layer='Linear', std=456**-0.5)),
)

train_dataloader = dict(batch_size=64)
optim_wrapper = dict(optimizer=dict(weight_decay=1e-4, nesterov=True))
auto_scale_lr = dict(base_batch_size=64)
