# LinearConv on ResNet-18, ResNeXt-29 and MobileNetV2.
_base_ = ['linear_conv_250e.py']

param_scheduler = dict(type='MultiStepLR', by_epoch=True, milestones=[75, 150, 200], gamma=0.1)
