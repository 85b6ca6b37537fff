# ResNet-56, CIFAR-10, dense, trained as with shared bases.
_base_ = ['dense_resnet32_300e_cifar10.py']

model = dict(backbone=dict(depth=56))
