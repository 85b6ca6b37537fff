# MobileNetV2 as the authors of deeply shared bases have it, for 32 x 32 images, 100 classes: a 1x1
# stem that pads to 34 x 34, two strides less, and shortcuts wherever the stride is 1.
_base_ = ['mobilenetv2_expanded.py']

model = dict(
    backbone=dict(stem_kernel=1, stem_stride=1, strides=(1, 2, 2, 2, 1, 1, 1), projection=True),
    head=dict(num_classes=100, topk=(1,)),
)
