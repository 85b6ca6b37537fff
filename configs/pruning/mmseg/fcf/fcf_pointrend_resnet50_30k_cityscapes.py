# FCF on PointRend, ResNetV1c-50, Cityscapes 512x1024, stage 1: which filters of the backbone can
# go; sparse rate 0.25. From mmseg's network (76.47 mIoU). Nothing is published for segmenters, so
# the schedule is ours: that of ImageNet in shape, with mmseg's learning rate.
# Counted here: 79910M MACs (of a prediction; dense 94619M), 20.47M parameters (28.72M).
_base_ = [
    'mmseg::point_rend/pointrend_r50_4xb2-80k_cityscapes-512x1024.py',
    '../../../_base_/methods/fcf_r50.py',
]
custom_imports = dict(imports=['mmcompress'], allow_failed_imports=False)

_segmenter = dict(_base_.model, pretrained=None)  # all weights are loaded below
model = dict(_delete_=True, architecture=_segmenter, **_base_.compression)
load_from = (
    'https://download.openmmlab.com/mmsegmentation/v0.5/point_rend/'
    'pointrend_r50_512x1024_80k_cityscapes/'
    'pointrend_r50_512x1024_80k_cityscapes_20200711_015821-bb1ff523.pth'
)

flops_shape = (512, 1024)  # height and width

optim_wrapper = dict(optimizer=dict(_delete_=True, type='SGD', lr=0.01))
param_scheduler = dict(
    _delete_=True, type='MultiStepLR', by_epoch=False, milestones=[10000, 20000], gamma=0.1
)
train_cfg = dict(max_iters=30000, val_interval=10000)

default_hooks = dict(
    checkpoint=dict(interval=10000),
    compression=dict(type='mmcompress.CompressionHook'),
    reseed=dict(type='mmcompress.ReseedHook'),
)
