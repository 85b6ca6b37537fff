# FCF on ResNet-110, CIFAR-10, all of it, as ResNet-20.
_base_ = ['fcf_resnet20_30e-150e_cifar10.py']

model = dict(architecture=dict(backbone=dict(depth=110)))

stages = [
    dict(name='dense', config='../../../dense/dense_resnet110_200e_cifar10.py'),
    *_base_.stages[1:],
]
