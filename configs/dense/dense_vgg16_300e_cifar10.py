# VGG-16 with batch norm, CIFAR-10, dense: what filter_basis_vgg16_300e_cifar10.py compresses.
_base_ = [
    '../_base_/models/vgg16_cifar.py',
    '../_base_/datasets/cifar10_bs128_std.py',
    '../_base_/schedules/cifar_300e.py',
    '../_base_/cls_runtime.py',
]

# A max pool ends the last stage too, as in the authors' program.
model = dict(backbone=dict(conv_bias=False, last_pool=True))

auto_scale_lr = dict(base_batch_size=128)
