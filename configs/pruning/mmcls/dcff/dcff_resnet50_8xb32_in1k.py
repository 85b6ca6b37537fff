# DCFF on ResNet-50, ImageNet. Published: 2260M MACs, 15.16M parameters, 73.96 top-1.
# Counted here: 2249M MACs, 15.16M parameters.
_base_ = [
    'mmpretrain::resnet/resnet50_8xb32_in1k.py',
    '../../../_base_/methods/dcff_r50.py',
    '../../../_base_/runtime.py',
]

model = dict(
    _delete_=True,
    architecture=_base_.model,
    **{
        **_base_.compression,
        'mutator_cfg': dict(type='DCFFMutator'),
    },  # the published widths, odd ones too
)

flops_shape = (3, 224, 224)  # (C, H, W) of the published figure

optim_wrapper = dict(optimizer=dict(lr=0.1, momentum=0.9, weight_decay=1e-4))
param_scheduler = dict(
    _delete_=True, type='MultiStepLR', by_epoch=True, milestones=[30, 60, 90], gamma=0.1
)
train_cfg = dict(max_epochs=120)

default_hooks = _base_.hooks
