# ResNet-20, CIFAR-10, dense: what FCF starts from. The paper takes it as given; the schedule is
# mmpretrain's for CIFAR-10. Shortcuts between stages are projections, as in the authors' program.
_base_ = [
    '../_base_/models/resnet20_projection_cifar.py',
    '../_base_/datasets/cifar10_bs128.py',
    'mmpretrain::_base_/schedules/cifar10_bs128.py',
    '../_base_/cls_runtime.py',
]
