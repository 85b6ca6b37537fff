# Shared basis on ResNet-32, CIFAR-10: 16 shared filters, times 1, 2 and 4, for first and for second
# convolutions of blocks, and no unique ones. The loss takes both bases of a stage as one.
_base_ = ['shared_basis_double-s16u1_resnet32_300e_cifar10.py']

_units = {
    f'backbone.layer{_i + 1}*': dict(init_args=dict(shared_rank=16 * 2**_i, unique_rank=0))
    for _i in range(3)
}
model = dict(
    mutator_cfg=dict(filter_unit_cfg=dict(units=_units)),
    orthogonality_terms=dict(unique=False, joint=True),
)
