# Shared basis on ResNet-50, ImageNet: one 3x3 convolution for all blocks but the first of each
# stage. Published: 20.51M parameters, 4.11G MACs, 23.64 % error.
# The weight decay is that of the authors' command, not the paper's 1e-4.
_base_ = ['../../../dense/dense_resnet50_150e_in1k.py']

model = dict(
    _delete_=True,
    type='mmcompress.SharedBasis',
    architecture=_base_.model,
    mutator_cfg=dict(
        type='SharedBasisMutator',
        parse_cfg=dict(rule='stage', skip_first_block=True),
        filter_unit_cfg=dict(
            type='SharedBasisUnit',
            default_args=dict(shared_rank='full', unique_rank=0, coefficients=False),
        ),
    ),
    orthogonality=10.0,
    orthogonality_terms=dict(unique=False),
)
