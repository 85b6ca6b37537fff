# VGG-11, CIFAR-10, dense, trained as with LinearConv.
# Published: 9.23M parameters.
_base_ = [
    '../_base_/models/vgg11_cifar.py',
    '../_base_/datasets/cifar10_bs50.py',
    '../_base_/schedules/linear_conv_250e.py',
    '../_base_/cls_runtime.py',
]
