# Shared basis on ResNet-56, CIFAR-10: 16 shared filters and a unique one, times 1, 2 and 4.
# Published: 7.46 % error.
_base_ = ['shared_basis_s16u1_resnet32_300e_cifar10.py']

model = dict(architecture=dict(backbone=dict(depth=56)))
