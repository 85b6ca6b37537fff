# Shared basis on ResNet-32, CIFAR-10: 16 shared filters and a unique one, times 1, 2 and 4; first
# and second convolutions of blocks share with their like.
# Published: 0.24M parameters, 6.93 % error.
# The loss takes both bases of a stage and all its unique filters as one, as the authors' program
# does.
_base_ = ['shared_basis_s8u1_resnet32_300e_cifar10.py']

_units = {
    f'backbone.layer{_i + 1}*': dict(init_args=dict(shared_rank=16 * 2**_i, unique_rank=2**_i))
    for _i in range(3)
}
model = dict(
    mutator_cfg=dict(parse_cfg=dict(by_position=True), filter_unit_cfg=dict(units=_units)),
    orthogonality_terms=dict(unique=True, joint=True),
)
