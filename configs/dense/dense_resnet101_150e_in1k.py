# ResNet-101, ImageNet, dense, trained as with shared bases.
_base_ = [
    'mmpretrain::_base_/models/resnet101.py',
    'mmpretrain::_base_/datasets/imagenet_bs32.py',
    '../_base_/schedules/imagenet_150e.py',
    '../_base_/cls_runtime.py',
]

flops_shape = (3, 224, 224)  # (C, H, W)

optim_wrapper = dict(optimizer=dict(weight_decay=4e-5))
