# What mmengine's runner needs for super-resolution, which takes no task library of OpenMMLab.
_base_ = ['runtime.py']

default_scope = 'mmengine'

default_hooks = dict(
    logger=dict(type='LoggerHook', interval=100),
    checkpoint=dict(type='CheckpointHook', interval=10, max_keep_ckpts=3),
    visuals=dict(type='mmcompress.VisualsHook'),
    **_base_.hooks,
)
env_cfg = dict(
    cudnn_benchmark=True,  # all patches have one size
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),
)
visualizer = dict(type='Visualizer', vis_backends=[dict(type='LocalVisBackend')])
log_processor = dict(by_epoch=True)
randomness = dict(seed=None, deterministic=False)
