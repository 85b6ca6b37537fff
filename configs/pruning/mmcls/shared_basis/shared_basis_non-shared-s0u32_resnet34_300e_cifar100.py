# ResNet-34, CIFAR-100, with 32 filters a layer, times 1, 2, 4 and 8, of which none is shared.
# Published: 23.00 % error. The authors' program trains it without a loss of its own.
_base_ = ['shared_basis_s8u1_resnet34_300e_cifar100.py']

_units = {
    f'backbone.layer{_i + 1}*': dict(init_args=dict(shared_rank=0, unique_rank=32 * 2**_i))
    for _i in range(4)
}
model = dict(mutator_cfg=dict(filter_unit_cfg=dict(units=_units)), orthogonality=0.0)
