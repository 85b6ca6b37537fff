# ResNet-110 for 32 x 32 images, parameter-free shortcuts.
model = dict(
    type='ImageClassifier',
    backbone=dict(type='mmcompress.CIFARResNet', depth=110, shortcut='pad'),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        num_classes=10,
        in_channels=64,
        loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
    ),
)
