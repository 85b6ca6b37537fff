# DenseNet-40 with a growth of 12 for 32 x 32 images: three dense blocks without bottlenecks.
model = dict(
    type='ImageClassifier',
    backbone=dict(type='mmcompress.CIFARDenseNet', depths=(12, 12, 12), growth=12),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        num_classes=10,
        in_channels=456,
        loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
    ),
)
