# PointRend, ResNetV1c-50, Cityscapes 512x1024, as mmseg has it.
_base_ = [
    'mmseg::point_rend/pointrend_r50_4xb2-80k_cityscapes-512x1024.py',
    '../_base_/runtime.py',
]

flops_shape = (3, 512, 1024)  # (C, H, W)

auto_scale_lr = dict(base_batch_size=8)  # 4 GPUs x 2 images

default_hooks = _base_.hooks
