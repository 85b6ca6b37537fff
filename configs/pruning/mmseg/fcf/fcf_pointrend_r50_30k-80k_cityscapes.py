# FCF on PointRend, ResNetV1c-50, Cityscapes 512x1024, all of it: which filters of the backbone can
# go (sparse rate 0.25), then training without them, then the exported network. From mmseg's network
# (76.47 mIoU). Nothing is published for segmenters, so the schedule is ours: that of ImageNet in
# shape, with mmseg's learning rate; then mmseg's own, with a tenth of it.
# Counted here: 79910M MACs (of a prediction; dense 94619M), 20.47M parameters (28.72M).
_base_ = [
    '../../../dense/dense_pointrend_r50_80k_cityscapes.py',
    '../../../_base_/methods/fcf_r50.py',
]

_segmenter = dict(_base_.model, pretrained=None)  # all weights are loaded below
model = dict(_delete_=True, architecture=_segmenter, **dict(_base_.compression, mu=1.005))
load_from = (
    'https://download.openmmlab.com/mmsegmentation/v0.5/point_rend/'
    'pointrend_r50_512x1024_80k_cityscapes/'
    'pointrend_r50_512x1024_80k_cityscapes_20200711_015821-bb1ff523.pth'
)

optim_wrapper = dict(optimizer=dict(_delete_=True, type='SGD', lr=0.01))
param_scheduler = dict(
    _delete_=True, type='MultiStepLR', by_epoch=False, milestones=[10000, 20000], gamma=0.1
)
train_cfg = dict(max_iters=30000, val_interval=10000)

default_hooks = dict(checkpoint=dict(interval=10000))

stages = [
    dict(name='factorize'),
    dict(
        name='finetune',
        cfg_options=dict(
            model=dict(stage='finetune'),
            optim_wrapper=dict(optimizer=dict(lr=0.001, momentum=0.9, weight_decay=5e-4)),
            param_scheduler=dict(
                _delete_=True,
                type='PolyLR',
                by_epoch=False,
                power=0.9,
                eta_min=1e-5,
                begin=0,
                end=80000,
            ),
            train_cfg=dict(max_iters=80000),
        ),
    ),
]
