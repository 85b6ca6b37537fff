# Filter basis on ResNet-56 with the published sizes, trained from scratch as the dense network is.
_base_ = ['filter_basis_resnet20_b24_digits.py']

model = dict(architecture=dict(backbone=dict(depth=56)))
