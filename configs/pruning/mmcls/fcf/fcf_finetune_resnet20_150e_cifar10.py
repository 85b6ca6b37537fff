# FCF on ResNet-20, CIFAR-10, stage 2: the filters that stage 1 chose go, the others are trained on.
# From fcf_resnet20_30e_cifar10.py.
_base_ = ['fcf_resnet20_30e_cifar10.py']

model = dict(stage='finetune')
load_from = 'work_dirs/fcf_resnet20_30e_cifar10/epoch_30.pth'

optim_wrapper = dict(optimizer=dict(lr=0.01, momentum=0.9, weight_decay=1e-4))
param_scheduler = dict(milestones=[60, 120])
train_cfg = dict(max_epochs=150)
