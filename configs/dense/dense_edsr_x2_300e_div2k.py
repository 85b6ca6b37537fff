# EDSR (32 blocks, 256 channels), x2, dense.
_base_ = [
    '../_base_/models/edsr_32_256.py',
    '../_base_/datasets/div2k_x2.py',
    '../_base_/schedules/sr_300e.py',
    '../_base_/sr_runtime.py',
]

model = dict(backbone=dict(scale=2))
