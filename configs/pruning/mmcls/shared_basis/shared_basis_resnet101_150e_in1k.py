# Shared basis on ResNet-101, ImageNet: one 3x3 convolution for all blocks but the first of each
# stage. Published: 29.47M parameters, 7.83G MACs, 22.31 % error.
_base_ = ['shared_basis_resnet50_150e_in1k.py']

model = dict(architecture=dict(backbone=dict(depth=101)))
