# ResNet-32, CIFAR-10, with 16 filters a layer, times 1, 2 and 4, of which none is shared. The
# authors' program trains it without a loss of its own.
_base_ = ['shared_basis_s8u1_resnet32_300e_cifar10.py']

_units = {
    f'backbone.layer{_i + 1}*': dict(init_args=dict(shared_rank=0, unique_rank=16 * 2**_i))
    for _i in range(3)
}
model = dict(mutator_cfg=dict(filter_unit_cfg=dict(units=_units)), orthogonality=0.0)
