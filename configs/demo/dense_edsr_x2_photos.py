# The dense network for super-resolution of the demo: an EDSR of 8 blocks and 32 channels that
# makes photographs twice as large. Minutes on two cores; eight photographs to train on, three
# others to test on.
_base_ = ['../_base_/datasets/photos_x2.py', '../_base_/runtime.py']
default_scope = 'mmengine'

model = dict(
    type='mmcompress.SuperResolver',
    backbone=dict(type='mmcompress.EDSR', num_blocks=8, width=32, scale=2),
    data_preprocessor=dict(type='mmcompress.SRDataPreprocessor', std=255.0),
)

# Patches of 24 x 24 pixels in, for steps of a sixth of a second.
train_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(type='mmcompress.PairedRandomCrop', patch=48),
            dict(type='mmcompress.PairedFlipRotate'),
            dict(type='mmcompress.PackSRInputs'),
        ]
    )
)
test_evaluator = [
    dict(type='mmcompress.PSNR', per_image=True),
    dict(type='mmcompress.SSIM', per_image=True),
]

optim_wrapper = dict(optimizer=dict(type='Adam', lr=1e-3))
param_scheduler = dict(
    type='CosineAnnealingLR',
    T_max=80,
    eta_min=0.0,
    by_epoch=True,
    convert_to_iter_based=True,
)
train_cfg = dict(by_epoch=True, max_epochs=80, val_interval=20)
val_cfg = {}
test_cfg = {}

randomness = dict(seed=0, deterministic=False)
log_processor = dict(by_epoch=True)
visualizer = dict(type='Visualizer', vis_backends=[dict(type='LocalVisBackend')])
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=15),
    checkpoint=dict(type='CheckpointHook', interval=20, max_keep_ckpts=1),
    visuals=dict(type='mmcompress.VisualsHook'),
    **_base_.hooks,
)
# What tools/get_flops.py counts with: the size of the input, whatever the size of the photographs.
flops_shape = (3, 64, 64)
