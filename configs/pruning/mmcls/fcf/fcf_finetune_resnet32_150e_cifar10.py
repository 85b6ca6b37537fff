# FCF on ResNet-32, CIFAR-10, stage 2, from fcf_resnet32_30e_cifar10.py.
_base_ = ['fcf_finetune_resnet20_150e_cifar10.py']

model = dict(architecture=dict(backbone=dict(depth=32)))
load_from = 'work_dirs/fcf_resnet32_30e_cifar10/epoch_30.pth'
