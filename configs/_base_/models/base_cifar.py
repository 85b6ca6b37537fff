# The network that the LinearConv paper calls Base: four convolutions for 32 x 32 images, each with
# bias, batch norm and a max pool, and a linear layer on all 2 x 2 x 256 features.
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='mmcompress.CIFARVGG',
        depth=(1, 1, 1, 1),
        widths=(32, 64, 128, 256),
        conv_bias=True,
        last_pool=True,
    ),
    # The classifier: this neck flattens what it gets, which no head of mmpretrain does.
    neck=dict(type='LinearNeck', in_channels=1024, out_channels=10, norm_cfg=None),
    head=dict(type='ClsHead', loss=dict(type='CrossEntropyLoss', loss_weight=1.0)),
)
