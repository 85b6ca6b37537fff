# LinearConv for the ResNet-34 backbone of any OpenMMLab library: as for ResNet-18.
_base_ = ['linear_conv_r18.py']
