# The dense pose estimator of the demo: mmpose's top-down heatmap model (td-hm) with a ResNet-18.
_base_ = [
    '../_base_/datasets/digits_pose.py',
    'mmpose::_base_/default_runtime.py',
    '../_base_/runtime.py',
]

model = dict(
    type='TopdownPoseEstimator',
    data_preprocessor=dict(
        type='PoseDataPreprocessor',
        # Mean and standard deviation over all pixels of the train images.
        mean=[29.64] * 3,
        std=[68.62] * 3,
    ),
    backbone=dict(type='ResNet', depth=18),
    head=dict(
        type='HeatmapHead',
        in_channels=512,
        out_channels=5,
        deconv_out_channels=(128, 128, 128),
        loss=dict(type='KeypointMSELoss', use_target_weight=True),
        decoder=_base_.codec,
    ),
    # A mirrored digit is another sign.
    test_cfg=dict(flip_test=False),
)

optim_wrapper = dict(optimizer=dict(type='Adam', lr=1e-3))
param_scheduler = dict(
    type='CosineAnnealingLR',
    T_max=15,
    eta_min=0.0,
    by_epoch=True,
    convert_to_iter_based=True,
)
train_cfg = dict(by_epoch=True, max_epochs=15, val_interval=5)

randomness = dict(seed=0, deterministic=False)
default_hooks = dict(
    logger=dict(interval=20),
    **_base_.hooks,
)
