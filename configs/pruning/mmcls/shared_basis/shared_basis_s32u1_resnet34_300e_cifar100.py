# Shared basis on ResNet-34, CIFAR-100: 32 shared filters and a unique one, times 1, 2, 4 and 8.
# Published: 7.73M parameters, 0.78G MACs (printed doubled), 21.79 % error.
_base_ = ['shared_basis_s8u1_resnet34_300e_cifar100.py']

_units = {
    f'backbone.layer{_i + 1}*': dict(init_args=dict(shared_rank=32 * 2**_i, unique_rank=2**_i))
    for _i in range(4)
}
model = dict(mutator_cfg=dict(filter_unit_cfg=dict(units=_units)))
