# Shared basis on ResNet-34, CIFAR-100: 32 shared filters, and no unique ones.
# Published: 22.32 % error.
_base_ = ['shared_basis_shared-only-s16u0_resnet34_300e_cifar100.py']

_units = {
    f'backbone.layer{_i + 1}*': dict(init_args=dict(shared_rank=32 * 2**_i, unique_rank=0))
    for _i in range(4)
}
model = dict(mutator_cfg=dict(filter_unit_cfg=dict(units=_units)))
