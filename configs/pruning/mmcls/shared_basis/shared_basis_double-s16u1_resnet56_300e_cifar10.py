# Shared basis on ResNet-56, CIFAR-10: 16 shared filters and a unique one, times 1, 2 and 4; first
# and second convolutions of blocks share with their like.
# Published: 0.31M parameters, 0.15G MACs (printed doubled), 6.30 % error.
_base_ = ['shared_basis_double-s16u1_resnet32_300e_cifar10.py']

model = dict(architecture=dict(backbone=dict(depth=56)))
