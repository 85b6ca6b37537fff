# VGG-16 for 32 x 32 images, with biases as in the DCFF authors' code.
model = dict(
    type='ImageClassifier',
    backbone=dict(type='mmcompress.CIFARVGG', depth=16, conv_bias=True),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        num_classes=10,
        in_channels=512,
        loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
    ),
)
