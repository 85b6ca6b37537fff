# Shared basis on DenseNet-121, CIFAR-100: the 3x3 convolutions of a dense block have 64 filters in
# common and 4 each. Published: 22.15 % error.
# As in the authors' program, all starts from PyTorch's own initialization, nothing orthogonal, and
# the loss counts shared filters only.
_base_ = ['../../../dense/dense_densenet121_300e_cifar100.py']

model = dict(
    _delete_=True,
    type='mmcompress.SharedBasis',
    architecture=_base_.model,
    mutator_cfg=dict(
        type='SharedBasisMutator',
        parse_cfg=dict(rule={f'block{_i}': [f'backbone.layer{_i}'] for _i in range(1, 5)}),
        filter_unit_cfg=dict(
            type='SharedBasisUnit',
            default_args=dict(shared_rank=64, unique_rank=4, norm_cfg=dict(type='BN')),
        ),
    ),
    orthogonality=10.0,
    orthogonality_terms=dict(unique=False),
    orthogonal_start=False,
)
