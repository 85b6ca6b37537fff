# FCF on ResNet-110, CIFAR-10, stage 1, from dense_resnet110_200e_cifar10.py.
_base_ = ['fcf_resnet20_30e_cifar10.py']

model = dict(architecture=dict(backbone=dict(depth=110)))
load_from = 'work_dirs/dense_resnet110_200e_cifar10/epoch_200.pth'
