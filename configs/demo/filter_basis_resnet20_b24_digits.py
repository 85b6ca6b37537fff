# Filter basis on ResNet-20 with the published sizes of ResNet-56 (16/24, 32/48, 64/84), trained
# from scratch as the dense network is.
# Measured, seed 0: top-1 99.25 (dense 100.0). 110k parameters stored (270k), 41M MACs at run time,
# as dense.
_base_ = ['dense_resnet20_digits.py', '../_base_/methods/filter_basis_cifar_resnet.py']

model = dict(_delete_=True, architecture=_base_.model, **_base_.compression)
