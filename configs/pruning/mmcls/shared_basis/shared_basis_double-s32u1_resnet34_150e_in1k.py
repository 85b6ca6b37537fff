# Shared basis on ResNet-34, ImageNet: 32 shared filters and a unique one, times 1, 2, 4 and 8;
# first and second convolutions of blocks share with their like.
# Published: 9.76M parameters, 2.49G MACs (printed doubled), 27.20 % error.
# The loss takes both bases of a stage as one, and no unique filters, as in the authors' program.
_base_ = ['../../../dense/dense_resnet34_150e_in1k.py']

_units = {
    f'backbone.layer{_i + 1}*': dict(init_args=dict(shared_rank=32 * 2**_i, unique_rank=2**_i))
    for _i in range(4)
}
model = dict(
    _delete_=True,
    type='mmcompress.SharedBasis',
    architecture=_base_.model,
    mutator_cfg=dict(
        type='SharedBasisMutator',
        parse_cfg=dict(rule='stage', skip_first_block=True, by_position=True),
        filter_unit_cfg=dict(
            type='SharedBasisUnit',
            default_args=dict(norm_cfg=dict(type='BN')),
            units=_units,
        ),
    ),
    orthogonality=10.0,
    orthogonality_terms=dict(unique=False, joint=True),
)
