# VGG-11 for 32 x 32 images, with biases and pooled to one pixel as in LinearConv.
_base_ = ['vgg16_cifar.py']

model = dict(backbone=dict(depth=11, last_pool=True))
