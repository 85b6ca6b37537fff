# ResNet-32, CIFAR-10, dense: what FCF starts from, trained as ResNet-20.
_base_ = ['dense_resnet20_200e_cifar10.py']

model = dict(backbone=dict(depth=32))
