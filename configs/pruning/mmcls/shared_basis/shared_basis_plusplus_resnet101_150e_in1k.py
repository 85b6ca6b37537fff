# Shared++ on ResNet-101, ImageNet, as for ResNet-50. In the authors' program, but no row is
# published.
_base_ = ['shared_basis_plusplus_resnet50_150e_in1k.py']

model = dict(architecture=dict(backbone=dict(depth=101)))
