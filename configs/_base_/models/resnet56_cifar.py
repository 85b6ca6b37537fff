# ResNet-56 for 32 x 32 images, parameter-free shortcuts.
_base_ = ['resnet20_cifar.py']

model = dict(backbone=dict(depth=56))
