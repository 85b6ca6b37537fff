# Shared basis on ResNet-56 with the published ranks of S8U1, trained from scratch as the dense
# network is.
_base_ = ['shared_basis_resnet20_s8u1_digits.py']

model = dict(architecture=dict(backbone=dict(depth=56)))
