# VGG-16 without batch norm, CIFAR-10: the dense network that the published reductions are counted
# from. 313M MACs, 14.72M parameters.
_base_ = ['dense_vgg16_300e_cifar10.py']

model = dict(backbone=dict(with_bn=False))
