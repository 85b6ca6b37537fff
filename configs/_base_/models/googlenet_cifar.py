# GoogLeNet for 32 x 32 images, with biases as in the DCFF authors' code.
model = dict(
    type='ImageClassifier',
    backbone=dict(type='mmcompress.CIFARGoogLeNet', conv_bias=True),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        num_classes=10,
        in_channels=1024,
        loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
    ),
)
