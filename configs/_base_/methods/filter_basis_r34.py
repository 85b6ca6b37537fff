# Filter basis for the ResNet-34 backbone of any OpenMMLab library: as for ResNet-18.
_base_ = ['filter_basis_r18.py']
