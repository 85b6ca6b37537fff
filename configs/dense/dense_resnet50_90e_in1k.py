# ResNet-50, ImageNet, fine-tuned from mmpretrain's network (76.55 top-1). The schedule is ours, a
# tenth of mmpretrain's learning rate.
_base_ = [
    'mmpretrain::_base_/models/resnet50.py',
    'mmpretrain::_base_/datasets/imagenet_bs32.py',
    'mmpretrain::_base_/schedules/imagenet_bs256.py',
    '../_base_/cls_runtime.py',
]

load_from = (
    'https://download.openmmlab.com/mmclassification/v0/resnet/'
    'resnet50_8xb32_in1k_20210831-ea4938fc.pth'
)

flops_shape = (3, 224, 224)  # (C, H, W)

optim_wrapper = dict(optimizer=dict(lr=0.01))
train_cfg = dict(max_epochs=90)
