# DCFF on VGG-16, CIFAR-10. Published: 72.77M MACs, 1.06M parameters, 93.47 %.
_base_ = [
    '../../../_base_/models/vgg16_cifar.py',
    '../../../_base_/datasets/cifar10_bs256.py',
    '../../../_base_/schedules/cifar_300e.py',
    'mmpretrain::_base_/default_runtime.py',
]
custom_imports = dict(imports=['mmcompress'], allow_failed_imports=False)

model = dict(
    _delete_=True,
    type='mmcompress.DCFF',
    architecture=_base_.model,
    target_pruning_ratio={
        'backbone.stage1.*': 0.5,
        'backbone.stage2.*': 0.6,
        'backbone.stage3.*': 0.65,
        'backbone.stage[45].*': 0.15,
    },
    fuse_interval=1,
)

default_hooks = dict(
    compression=dict(type='mmcompress.CompressionHook'),
    reseed=dict(type='mmcompress.ReseedHook'),
)
