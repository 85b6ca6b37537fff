# ResNet-56, CIFAR-10: unshared filters only, as for ResNet-32.
_base_ = ['shared_basis_non-shared-s0u16_resnet32_300e_cifar10.py']

model = dict(architecture=dict(backbone=dict(depth=56)))
