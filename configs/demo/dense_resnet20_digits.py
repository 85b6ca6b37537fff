# The dense network of the demo: ResNet-20 on the embedded digits, fifteen epochs.
_base_ = [
    '../_base_/models/resnet20_cifar.py',
    '../_base_/datasets/digits_bs64.py',
    '../_base_/schedules/digits_15e.py',
    '../_base_/cls_runtime.py',
]
default_scope = 'mmpretrain'

randomness = dict(seed=0, deterministic=False)
default_hooks = dict(logger=dict(interval=20))
