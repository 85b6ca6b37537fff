# Shared basis on ResNet-56, CIFAR-10: 8 shared filters and a unique one, times 1, 2 and 4.
# Published: 0.20M parameters, 0.08G MACs (printed doubled), 7.52 % error.
_base_ = ['shared_basis_s8u1_resnet32_300e_cifar10.py']

model = dict(architecture=dict(backbone=dict(depth=56)))
