# The dense segmenter of the demo: mmsegmentation's FCN with a ResNet-18, eleven classes.
_base_ = [
    'mmseg::_base_/models/fcn_r50-d8.py',
    '../_base_/datasets/digits_segmentation.py',
    'mmseg::_base_/default_runtime.py',
    '../_base_/runtime.py',
]

norm_cfg = dict(type='BN', requires_grad=True)
# Seven pixels of eight are background.
loss_decode = dict(class_weight=[0.3] + [1.0] * 10)
# Mean and standard deviation over all pixels of the train images.
data_preprocessor = dict(mean=[29.64] * 3, std=[68.62] * 3, size=(64, 64))
model = dict(
    data_preprocessor=data_preprocessor,
    pretrained=None,
    backbone=dict(depth=18, norm_cfg=norm_cfg),
    decode_head=dict(
        in_channels=512, channels=128, num_classes=11, norm_cfg=norm_cfg, loss_decode=loss_decode
    ),
    auxiliary_head=dict(
        in_channels=256, channels=64, num_classes=11, norm_cfg=norm_cfg, loss_decode=loss_decode
    ),
)

optim_wrapper = dict(optimizer=dict(type='Adam', lr=1e-3))
param_scheduler = dict(
    type='CosineAnnealingLR',
    T_max=12,
    eta_min=0.0,
    by_epoch=True,
    convert_to_iter_based=True,
)
train_cfg = dict(by_epoch=True, max_epochs=12, val_interval=3)
val_cfg = {}
test_cfg = {}

randomness = dict(seed=0, deterministic=False)
log_processor = dict(by_epoch=True)
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=20),
    visualization=dict(type='SegVisualizationHook'),
    **_base_.hooks,
)
