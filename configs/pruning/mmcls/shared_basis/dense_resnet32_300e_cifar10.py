# ResNet-32, CIFAR-10, dense, trained as with shared bases.
_base_ = [
    '../../../_base_/models/resnet32_cifar.py',
    '../../../_base_/datasets/cifar10_bs256.py',
    '../../../_base_/schedules/cifar_300e.py',
    'mmpretrain::_base_/default_runtime.py',
]
custom_imports = dict(imports=['mmcompress'], allow_failed_imports=False)

# ImageNet's mean and standard deviation, as in the authors' program for CIFAR-10.
data_preprocessor = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])
