# DCFF on PointRend, ResNetV1c-50, Cityscapes 512x1024, 160k iterations. Published: 74410M MACs,
# 18.43M parameters, 76.75 mIoU. Counted here: 74751M MACs (of a prediction, with its two steps of
# refinement), 18.43M parameters.
_base_ = [
    '../../../dense/dense_pointrend_r50_80k_cityscapes.py',
    '../../../_base_/methods/dcff_r50.py',
]

model = dict(
    _delete_=True,
    architecture=_base_.model,
    **{
        **_base_.compression,
        'mutator_cfg': dict(type='DCFFMutator'),
    },  # the published widths, odd ones too
)

optim_wrapper = dict(clip_grad=dict(_delete_=True, max_norm=25, norm_type=2))
# As in MMRazor's program: the learning rate has reached its end after half of the training.
param_scheduler = [
    dict(type='LinearLR', by_epoch=False, start_factor=0.1, begin=0, end=200),
    dict(type='PolyLR', by_epoch=False, power=0.9, eta_min=1e-4, begin=200, end=80000),
]
train_cfg = dict(max_iters=160000, val_interval=16000)

auto_scale_lr = dict(base_batch_size=16)  # 8 GPUs x 2 images

default_hooks = dict(checkpoint=dict(interval=16000))
