# A top-down heatmap estimator, ResNet-50, COCO 256x192, as mmpose has it.
_base_ = [
    'mmpose::body_2d_keypoint/topdown_heatmap/coco/td-hm_res50_8xb64-210e_coco-256x192.py',
    '../_base_/runtime.py',
]

flops_shape = (3, 256, 192)  # (C, H, W)

default_hooks = _base_.hooks
