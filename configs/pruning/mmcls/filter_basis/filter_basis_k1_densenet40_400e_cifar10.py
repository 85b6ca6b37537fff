# Filter basis on DenseNet-40, CIFAR-10, with 1x1 coefficients: the authors' --k_size2 1.
# Counted here: 230k parameters.
_base_ = ['filter_basis_densenet40_400e_cifar10.py']

model = dict(mutator_cfg=dict(filter_unit_cfg=dict(default_args=dict(coefficient_kernel=1))))
