# The dense detector of the demo: mmdet's Faster R-CNN with a ResNet-18 and heads for ten classes.
_base_ = [
    'mmdet::_base_/models/faster-rcnn_r50_fpn.py',
    '../_base_/datasets/digits_detection.py',
    'mmdet::_base_/default_runtime.py',
    '../_base_/runtime.py',
]

model = dict(
    # Mean and standard deviation over all pixels of the train images.
    data_preprocessor=dict(mean=[29.64] * 3, std=[68.62] * 3),
    # From scratch: nothing pretrained, nothing frozen.
    backbone=dict(depth=18, frozen_stages=-1, norm_eval=False, init_cfg=None),
    neck=dict(in_channels=[64, 128, 256, 512], out_channels=64),
    rpn_head=dict(
        in_channels=64,
        feat_channels=64,
        # Boxes are 12 to 48 pixels high: half of COCO's smallest anchors.
        anchor_generator=dict(scales=[4], ratios=[1.0, 1.6, 2.5]),
    ),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=64, finest_scale=28),
        bbox_head=dict(in_channels=64, fc_out_channels=256, num_classes=10),
    ),
    # Few objects on small images: fewer proposals do.
    train_cfg=dict(
        rpn_proposal=dict(nms_pre=200, max_per_img=100), rcnn=dict(sampler=dict(num=64))
    ),
    test_cfg=dict(rpn=dict(nms_pre=200, max_per_img=50)),
)

optim_wrapper = dict(
    optimizer=dict(type='SGD', lr=0.02, momentum=0.9, weight_decay=5e-4),
    clip_grad=dict(max_norm=10),
)
param_scheduler = dict(
    type='CosineAnnealingLR',
    T_max=8,
    eta_min=0.0,
    by_epoch=True,
    convert_to_iter_based=True,
)
train_cfg = dict(by_epoch=True, max_epochs=8, val_interval=2)
val_cfg = {}
test_cfg = {}

randomness = dict(seed=0, deterministic=False)
default_hooks = dict(
    logger=dict(interval=20),
    **_base_.hooks,
)
