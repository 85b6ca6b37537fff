# ResNeXt-29 2x64d, CIFAR-10, dense, trained as with LinearConv.
_base_ = [
    '../_base_/models/resnext29_cifar.py',
    '../_base_/datasets/cifar10_bs50.py',
    '../_base_/schedules/linear_conv_250e_step.py',
    '../_base_/cls_runtime.py',
]
custom_imports = dict(
    imports=['mmcompress', 'mmcompress.models.cifar.resnext'], allow_failed_imports=False
)

train_dataloader = dict(batch_size=32)
auto_scale_lr = dict(base_batch_size=32)
