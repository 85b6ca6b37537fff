# FCF for the ResNet-50 backbone of any OpenMMLab library: as for ResNet-18, with all three
# convolutions of every bottleneck.
_base_ = ['fcf_r18.py']
