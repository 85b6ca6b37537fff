# ResNeXt-50 32x4d, CIFAR-100, dense, trained as with shared bases.
_base_ = [
    '../_base_/models/resnext50_cifar.py',
    '../_base_/datasets/cifar100_bs256.py',
    '../_base_/schedules/cifar_300e.py',
    '../_base_/cls_runtime.py',
]
custom_imports = dict(
    imports=['mmcompress', 'mmcompress.models.cifar.resnext'], allow_failed_imports=False
)
