# FCF on ResNet-50, ImageNet, all of it: which filters of each layer can go (sparse rate 0.25),
# then training without them, then the exported network. From mmpretrain's network (76.55 top-1).
# As in the authors' program, convolutions also lose the inputs that the block before lost
# (`cut_inputs`); its v multiplies the weight in front of the norm (`scale='weight'`), ours the
# output of the norm, which has a gradient.
# Counted here: 2530M MACs (dense 4112M), 16.50M parameters (25.56M).
_base_ = [
    'mmpretrain::_base_/models/resnet50.py',
    'mmpretrain::_base_/datasets/imagenet_bs32.py',
    '../../../_base_/cls_runtime.py',
    '../../../_base_/methods/fcf_r50.py',
    '../../../_base_/schedules/fcf_30e.py',
]

_published = dict(_base_.compression, mu=1.005)
_published['mutator_cfg'] = dict(_published['mutator_cfg'], cut_inputs=True)
model = dict(_delete_=True, architecture=_base_.model, **_published)
load_from = (
    'https://download.openmmlab.com/mmclassification/v0/resnet/'
    'resnet50_8xb32_in1k_20210831-ea4938fc.pth'
)

flops_shape = (3, 224, 224)  # (C, H, W)

auto_scale_lr = dict(base_batch_size=256)  # 8 GPUs x 32 images

stages = [
    dict(name='factorize'),
    dict(
        name='finetune',
        cfg_options=dict(
            model=dict(stage='finetune'),
            optim_wrapper=dict(optimizer=dict(lr=0.01, momentum=0.9, weight_decay=1e-4)),
            param_scheduler=dict(milestones=[30, 60]),
            train_cfg=dict(max_epochs=90),
        ),
    ),
]
