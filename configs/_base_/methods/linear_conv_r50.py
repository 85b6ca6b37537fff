# LinearConv for the ResNet-50 backbone of any OpenMMLab library: as for ResNet-18, with the 3x3
# convolutions of bottlenecks.
_base_ = ['linear_conv_r18.py']
