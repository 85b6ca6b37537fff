# The Base network of the paper, CIFAR-100, dense, trained as with LinearConv.
_base_ = [
    '../_base_/models/base_cifar.py',
    '../_base_/datasets/cifar100_bs50.py',
    '../_base_/schedules/linear_conv_250e.py',
    '../_base_/cls_runtime.py',
]

model = dict(neck=dict(out_channels=100))
