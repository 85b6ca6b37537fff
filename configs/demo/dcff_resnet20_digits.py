# DCFF on ResNet-20, about half the MACs: three quarters of every width, rounded down to a
# multiple of 8 (8, 24 and 48 channels), which is what CPUs and GPUs run fast.
_base_ = ['dense_resnet20_digits.py']

model = dict(
    _delete_=True,
    type='mmcompress.DCFF',
    architecture=_base_.model,
    mutator_cfg=dict(
        type='DCFFMutator',
        channel_unit_cfg=dict(type='DCFFUnit', default_args=dict(divisor=8)),
    ),
    target_pruning_ratio=0.75,
    fuse_interval=1,
)
