# ResNet-32, CIFAR-10, dense, trained as with shared bases.
_base_ = [
    '../_base_/models/resnet32_cifar.py',
    '../_base_/datasets/cifar10_bs256.py',
    '../_base_/schedules/cifar_300e.py',
    '../_base_/cls_runtime.py',
]

# ImageNet's mean and standard deviation, as in the authors' program for CIFAR-10.
data_preprocessor = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])
