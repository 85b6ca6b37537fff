# All-CNN-C for 32 x 32 images. Its last convolution has a filter for each class.
model = dict(
    type='ImageClassifier',
    backbone=dict(type='mmcompress.AllConv', num_classes=10),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='ClsHead', loss=dict(type='CrossEntropyLoss', loss_weight=1.0)),
)
