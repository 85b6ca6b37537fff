# Filter basis on ResNet-56, CIFAR-10, as the authors' published command trains it. Published: 186k
# parameters, 6.60 % error (dense 6.28 %).
# Counted here: 204k parameters, 200M MACs.
_base_ = [
    '../../../dense/dense_stem-bias_resnet56_300e_cifar10.py',
    '../../../_base_/methods/filter_basis_cifar_resnet.py',
]

model = dict(_delete_=True, architecture=_base_.model, **_base_.compression)
model['mutator_cfg']['filter_unit_cfg']['default_args'].update(
    basis_start='uniform', coefficient_start='fan_in'
)

param_scheduler = dict(milestones=[250, 325])
train_cfg = dict(max_epochs=400)
