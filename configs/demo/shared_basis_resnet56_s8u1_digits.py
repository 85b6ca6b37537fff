# Shared basis on ResNet-56 with the published ranks of S8U1, trained from scratch as the dense
# network is.
# Measured, seed 0: top-1 99.0 (dense 99.0). 202k parameters stored (853k), 84M MACs (127M).
_base_ = ['shared_basis_resnet20_s8u1_digits.py']

model = dict(architecture=dict(backbone=dict(depth=56)))
