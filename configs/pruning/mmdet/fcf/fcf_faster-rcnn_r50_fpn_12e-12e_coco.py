# FCF on Faster R-CNN, ResNet-50 with FPN, COCO, all of it: which filters of the backbone can go
# (sparse rate 0.25), then training without them, then the exported network. From mmdet's network
# (37.4 box AP). Nothing is published for detectors, so the schedule is ours: that of ImageNet in
# shape, with mmdet's learning rate and number of epochs, and a tenth of the rate in the end.
# Counted here: 178076M MACs (dense 206805M), 33.51M parameters (41.75M).
_base_ = [
    '../../../dense/dense_faster-rcnn_r50_fpn_1x_coco.py',
    '../../../_base_/methods/fcf_r50.py',
]

_detector = dict(_base_.model)
_detector['backbone'] = dict(_detector['backbone'], init_cfg=None)  # all weights are loaded below
model = dict(_delete_=True, architecture=_detector, **dict(_base_.compression, mu=1.005))
load_from = (
    'https://download.openmmlab.com/mmdetection/v2.0/faster_rcnn/faster_rcnn_r50_fpn_1x_coco/'
    'faster_rcnn_r50_fpn_1x_coco_20200130-047c8118.pth'
)

optim_wrapper = dict(optimizer=dict(_delete_=True, type='SGD', lr=0.02))
param_scheduler = dict(
    _delete_=True, type='MultiStepLR', by_epoch=True, milestones=[4, 8], gamma=0.1
)

stages = [
    dict(name='factorize'),
    dict(
        name='finetune',
        cfg_options=dict(
            model=dict(stage='finetune'),
            optim_wrapper=dict(optimizer=dict(lr=0.002, momentum=0.9, weight_decay=1e-4)),
            param_scheduler=dict(milestones=[8, 11]),
        ),
    ),
]
