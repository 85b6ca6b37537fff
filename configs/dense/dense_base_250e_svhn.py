# The Base network of the paper, SVHN, dense, trained as with LinearConv.
_base_ = [
    '../_base_/models/base_cifar.py',
    '../_base_/datasets/svhn_bs50.py',
    '../_base_/schedules/linear_conv_250e.py',
    '../_base_/cls_runtime.py',
]
