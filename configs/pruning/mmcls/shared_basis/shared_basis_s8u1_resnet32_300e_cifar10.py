# Shared basis on ResNet-32, CIFAR-10: 8 shared filters for the first stage and one unique filter
# for each of its layers, 16 and 2 for the second, 32 and 4 for the third.
# Published: 0.15M parameters, 0.05G MACs (printed doubled), 8.08 % error.
# The loss counts unique filters, as the authors' program for CIFAR-10 does and no other of theirs.
_base_ = [
    '../../../dense/dense_resnet32_300e_cifar10.py',
    '../../../_base_/methods/shared_basis_cifar_resnet.py',
]

model = dict(
    _base_.compression,
    _delete_=True,
    architecture=_base_.model,
    orthogonality_terms=dict(unique=True),
)
