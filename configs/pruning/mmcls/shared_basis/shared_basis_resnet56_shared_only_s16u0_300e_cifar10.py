# Shared basis on ResNet-56, CIFAR-10: shared filters only, as for ResNet-32.
_base_ = ['shared_basis_resnet32_shared_only_s16u0_300e_cifar10.py']

model = dict(architecture=dict(backbone=dict(depth=56)))
