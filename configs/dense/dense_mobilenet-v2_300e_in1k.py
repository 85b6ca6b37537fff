# MobileNetV2, ImageNet, dense, trained as with shared bases.
_base_ = [
    '../_base_/models/mobilenetv2_expanded.py',
    'mmpretrain::_base_/datasets/imagenet_bs32.py',
    '../_base_/schedules/imagenet_300e_mobilenetv2.py',
    '../_base_/cls_runtime.py',
]

flops_shape = (3, 224, 224)  # (C, H, W)

# PyTorch's own initialization, as in the authors' program.
model = dict(backbone=dict(init_cfg=None), head=dict(init_cfg=None))
