# DCFF on ResNet-50, ImageNet, 90 epochs with steps, the authors' recipe. Published: 2.25B MACs,
# 15.16M parameters, 75.18 %. The widths are those of the MM recipe.
_base_ = ['dcff_resnet50_8xb32_in1k.py']

# The authors' program fuses the filters of layers that keep all of theirs too (the stem), and
# leaves the downsampling convolutions plain.
model = dict(
    mutator_cfg=dict(
        channel_unit_cfg=dict(
            type='DCFFUnit', default_args=dict(fuse_all=True, plain=['*.downsample.*'])
        ),
    ),
)

# Its schedule: five epochs of warm-up, from lr / iterations to lr, and a third step at 80.
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=1 / (5 * 5005),  # 5005 batches of 256
        by_epoch=True,
        begin=0,
        end=5,
        convert_to_iter_based=True,
    ),
    dict(type='MultiStepLR', by_epoch=True, milestones=[30, 60, 80], gamma=0.1),
]
train_cfg = dict(max_epochs=90)
