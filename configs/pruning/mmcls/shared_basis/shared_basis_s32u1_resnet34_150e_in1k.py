# Shared basis on ResNet-34, ImageNet: 32 shared filters and a unique one, times 1, 2, 4 and 8.
# Published: 8.20M parameters, 2.49G MACs (printed doubled), 28.42 % error.
_base_ = ['shared_basis_double-s32u1_resnet34_150e_in1k.py']

model = dict(
    mutator_cfg=dict(parse_cfg=dict(by_position=False)),
    orthogonality_terms=dict(unique=False, joint=False),
)
