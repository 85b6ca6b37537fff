# DCFF for the ResNet-34 backbone of any OpenMMLab library: the keep ratios of ResNet-18, whose
# basic blocks and stages it has more of. No rates are published for either.
_base_ = ['dcff_r18.py']
