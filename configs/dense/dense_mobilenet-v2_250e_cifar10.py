# MobileNetV2, CIFAR-10, dense, trained as with LinearConv.
_base_ = [
    '../_base_/models/mobilenetv2_cifar.py',
    '../_base_/datasets/cifar10_bs50.py',
    '../_base_/schedules/linear_conv_250e_step.py',
    '../_base_/cls_runtime.py',
]

train_dataloader = dict(batch_size=32)
auto_scale_lr = dict(base_batch_size=32)
