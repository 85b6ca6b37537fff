# Shared basis for the ResNet-34 backbone of any OpenMMLab library: as for ResNet-18.
_base_ = ['shared_basis_r18.py']
