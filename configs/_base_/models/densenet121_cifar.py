# DenseNet-121 for 32 x 32 images, 100 classes: a 3x3 stem, no max pool. As the shared basis authors
# build it, transitions have no ReLU.
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='mmcompress.CIFARDenseNet',
        depths=(6, 12, 24, 16),
        growth=32,
        bottleneck=True,
        compression=0.5,
        transition_act=False,
    ),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        num_classes=100,
        in_channels=1024,
        loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
    ),
)
