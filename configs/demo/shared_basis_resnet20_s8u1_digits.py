# Shared basis on ResNet-20 with the published ranks of S8U1, trained from scratch as the dense
# network is: 8 shared filters for the first stage and a unique one for each of its layers, 16 and 2
# for the second, 32 and 4 for the third. The loss counts unique filters, as published for CIFAR-10.
# Measured, seed 0: top-1 99.0 (dense 100.0). 125k parameters stored (270k), 30M MACs (41M).
_base_ = ['dense_resnet20_digits.py', '../_base_/methods/shared_basis_cifar_resnet.py']

model = dict(
    _base_.compression,
    _delete_=True,
    architecture=_base_.model,
    orthogonality_terms=dict(unique=True),
)
