# FCF on Faster R-CNN, ResNet-50 with FPN, COCO, stage 1: which filters of the backbone can go;
# sparse rate 0.25. From mmdet's network (37.4 box AP). Nothing is published for detectors, so the
# schedule is ours: that of ImageNet in shape, with mmdet's learning rate and number of epochs.
# Counted here: 178076M MACs (dense 206805M), 33.51M parameters (41.75M).
_base_ = [
    'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py',
    '../../../_base_/methods/fcf_r50.py',
]
custom_imports = dict(imports=['mmcompress'], allow_failed_imports=False)

_detector = dict(_base_.model)
_detector['backbone'] = dict(_detector['backbone'], init_cfg=None)  # all weights are loaded below
model = dict(_delete_=True, architecture=_detector, **_base_.compression)
load_from = (
    'https://download.openmmlab.com/mmdetection/v2.0/faster_rcnn/faster_rcnn_r50_fpn_1x_coco/'
    'faster_rcnn_r50_fpn_1x_coco_20200130-047c8118.pth'
)

flops_shape = (800, 1280)  # height and width

optim_wrapper = dict(optimizer=dict(_delete_=True, type='SGD', lr=0.02))
param_scheduler = dict(
    _delete_=True, type='MultiStepLR', by_epoch=True, milestones=[4, 8], gamma=0.1
)

default_hooks = dict(
    compression=dict(type='mmcompress.CompressionHook'),
    reseed=dict(type='mmcompress.ReseedHook'),
)
