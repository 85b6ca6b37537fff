# MobileNetV2, CIFAR-100, dense, trained as with shared bases.
_base_ = [
    '../_base_/models/mobilenetv2_expanded_cifar.py',
    '../_base_/datasets/cifar100_bs256.py',
    '../_base_/schedules/cifar_300e.py',
    '../_base_/cls_runtime.py',
]

# PyTorch's own initialization, as in the authors' program.
model = dict(backbone=dict(init_cfg=None), head=dict(init_cfg=None))
