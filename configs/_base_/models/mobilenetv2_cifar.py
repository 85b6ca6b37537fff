# MobileNetV2 for 32 x 32 images as the authors of LinearConv have it: two strides less, shortcuts
# wherever the stride is 1, no bias, ReLU.
_base_ = ['mobilenetv2_expanded.py']

model = dict(
    backbone=dict(
        stem_stride=1,
        strides=(1, 1, 2, 2, 1, 2, 1),
        projection=True,
        outer_bias=False,
        outer_relu6=False,
    ),
    head=dict(num_classes=10, topk=(1,)),
)
