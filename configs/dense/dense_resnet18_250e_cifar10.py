# ResNet-18, CIFAR-10, dense, trained as with LinearConv.
# Published: 11.17M parameters.
_base_ = [
    'mmpretrain::_base_/models/resnet18_cifar.py',
    '../_base_/datasets/cifar10_bs50.py',
    '../_base_/schedules/linear_conv_250e_step.py',
    '../_base_/cls_runtime.py',
]

# Of Adam too; it is the authors' own rate.
optim_wrapper = dict(optimizer=dict(lr=0.1))
