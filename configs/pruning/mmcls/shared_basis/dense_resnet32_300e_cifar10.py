# ResNet-32, CIFAR-10, dense, trained as with shared bases.
_base_ = [
    '../../../_base_/models/resnet32_cifar.py',
    '../../../_base_/datasets/cifar10_bs256.py',
    '../../../_base_/schedules/cifar_300e.py',
    'mmpretrain::_base_/default_runtime.py',
]
custom_imports = dict(imports=['mmcompress'], allow_failed_imports=False)
