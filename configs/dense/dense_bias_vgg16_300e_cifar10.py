# VGG-16 with batch norm and biases, CIFAR-10, dense: what filter_basis_bias_vgg16_300e_cifar10.py
# compresses.
_base_ = ['dense_vgg16_300e_cifar10.py']

model = dict(backbone=dict(conv_bias=True))
