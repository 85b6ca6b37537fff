# ResNet-20 for 32 x 32 images, with 1x1 convolutions for shortcuts between stages.
_base_ = ['resnet20_cifar.py']

model = dict(backbone=dict(shortcut='projection'))
