# The Base network of the paper, Fashion-MNIST, dense, trained as with LinearConv.
_base_ = [
    '../_base_/models/base_cifar.py',
    '../_base_/datasets/fashion_mnist_bs50.py',
    '../_base_/schedules/linear_conv_250e.py',
    '../_base_/cls_runtime.py',
]

model = dict(backbone=dict(in_channels=1))
