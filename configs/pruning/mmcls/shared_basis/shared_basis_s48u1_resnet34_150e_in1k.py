# Shared basis on ResNet-34, ImageNet: 48 shared filters and a unique one, times 1, 2, 4 and 8.
# Published: 9.44M parameters, 3.26G MACs (printed doubled), 27.88 % error.
_base_ = ['shared_basis_double-s48u1_resnet34_150e_in1k.py']

model = dict(
    mutator_cfg=dict(parse_cfg=dict(by_position=False)),
    orthogonality_terms=dict(unique=False, joint=False),
)
