# ResNet-34, CIFAR-100, dense, trained as with shared bases.
_base_ = [
    'mmpretrain::_base_/models/resnet34_cifar.py',
    '../_base_/datasets/cifar100_bs256.py',
    '../_base_/schedules/cifar_300e.py',
    '../_base_/cls_runtime.py',
]

model = dict(head=dict(num_classes=100))
