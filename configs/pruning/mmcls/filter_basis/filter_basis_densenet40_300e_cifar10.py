# Filter basis on DenseNet-40, CIFAR-10, as long as the paper's text says: as
# filter_basis_densenet40_400e_cifar10.py for the rest.
_base_ = ['filter_basis_densenet40_400e_cifar10.py']

param_scheduler = dict(milestones=[150, 225])
train_cfg = dict(max_epochs=300)
