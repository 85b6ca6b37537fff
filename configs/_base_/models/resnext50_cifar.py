# ResNeXt-50 32x4d for 32 x 32 images, 100 classes. The config that builds it has to import
# mmcompress.models.cifar.resnext (custom_imports).
model = dict(
    type='ImageClassifier',
    backbone=dict(type='mmcompress.CIFARResNeXt', depth=50, groups=32, width_per_group=4),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        num_classes=100,
        in_channels=2048,
        loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
    ),
)
