# Shared basis on ResNet-32, CIFAR-10: 16 shared filters and a unique one, times 1, 2 and 4.
# Published: 0.20M parameters, 0.08G MACs (printed doubled), 7.43 % error.
_base_ = ['shared_basis_s8u1_resnet32_300e_cifar10.py']

_units = {
    f'backbone.layer{_i + 1}*': dict(init_args=dict(shared_rank=16 * 2**_i, unique_rank=2**_i))
    for _i in range(3)
}
model = dict(mutator_cfg=dict(filter_unit_cfg=dict(units=_units)))
