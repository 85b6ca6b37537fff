# FCF on ResNet-56, CIFAR-10, stage 2, from fcf_resnet56_30e_cifar10.py.
_base_ = ['fcf_finetune_resnet20_150e_cifar10.py']

model = dict(architecture=dict(backbone=dict(depth=56)))
load_from = 'work_dirs/fcf_resnet56_30e_cifar10/epoch_30.pth'
