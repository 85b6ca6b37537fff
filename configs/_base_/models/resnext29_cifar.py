# ResNeXt-29 2x64d for 32 x 32 images, with a 1x1 stem as in LinearConv. The config that builds it
# has to import mmcompress.models.cifar.resnext (custom_imports).
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='mmcompress.CIFARResNeXt',
        depth=29,
        groups=2,
        width_per_group=64,
        base_channels=128,
        expansion=2,
        num_stages=3,
        strides=(1, 2, 2),
        dilations=(1, 1, 1),
        out_indices=(2,),
        stem_kernel=1,
    ),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        num_classes=10,
        in_channels=1024,
        loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
    ),
)
