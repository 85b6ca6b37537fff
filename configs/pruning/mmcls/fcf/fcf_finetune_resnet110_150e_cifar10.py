# FCF on ResNet-110, CIFAR-10, stage 2, from fcf_resnet110_30e_cifar10.py.
_base_ = ['fcf_finetune_resnet20_150e_cifar10.py']

model = dict(architecture=dict(backbone=dict(depth=110)))
load_from = 'work_dirs/fcf_resnet110_30e_cifar10/epoch_30.pth'
