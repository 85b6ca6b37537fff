# Shared basis on ResNet-34, CIFAR-100: 16 shared filters, times 1, 2, 4 and 8, for all convolutions
# of a stage, and no unique ones. (For CIFAR-10 the authors have two bases a stage.)
# Published: 23.43 % error.
_base_ = ['shared_basis_s8u1_resnet34_300e_cifar100.py']

_units = {
    f'backbone.layer{_i + 1}*': dict(init_args=dict(shared_rank=16 * 2**_i, unique_rank=0))
    for _i in range(4)
}
model = dict(mutator_cfg=dict(filter_unit_cfg=dict(units=_units)))
