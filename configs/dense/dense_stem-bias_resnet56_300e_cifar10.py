# ResNet-56, CIFAR-10, dense, with a bias in the stem and shortcuts that average 2x2 pixels: what
# filter_basis_resnet56_400e_cifar10.py compresses.
_base_ = [
    '../_base_/models/resnet56_cifar.py',
    '../_base_/datasets/cifar10_bs128_std.py',
    '../_base_/schedules/cifar_300e.py',
    '../_base_/cls_runtime.py',
]

# The authors' program averages 2x2 pixels where the ResNet paper takes the first (shortcut='pad').
model = dict(
    backbone=dict(
        stem_bias=True,
        shortcut='pool',
        init_cfg=dict(type='Kaiming', layer='Conv2d', mode='fan_in'),
    ),
    head=dict(init_cfg=dict(type='Normal', layer='Linear', std=64**-0.5)),
)

# A batch of 64 and half the weight decay of VGG-16's; the authors' scripts train dense networks for
# 300 epochs and those with a basis for 400.
train_dataloader = dict(batch_size=64)
optim_wrapper = dict(optimizer=dict(weight_decay=1e-4))
auto_scale_lr = dict(base_batch_size=64)
