# DCFF on VGG-16, CIFAR-10. Published: 72.77M MACs, 1.06M parameters, 93.47 %.
_base_ = [
    '../../../_base_/models/vgg16_cifar.py',
    '../../../_base_/datasets/cifar10_bs256.py',
    '../../../_base_/schedules/cifar_300e.py',
    '../../../_base_/cls_runtime.py',
]

# The authors' program fuses the filters of layers that keep all of theirs too, and starts as
# PyTorch does: uniform by fan in, within 1 / sqrt(fan in). A max pool ends its last stage as well.
_uniform = dict(
    type='Kaiming', a=5**0.5, mode='fan_in', nonlinearity='leaky_relu', distribution='uniform'
)
_architecture = dict(
    _base_.model,
    backbone=dict(
        _base_.model.backbone,
        last_pool=True,
        init_cfg=[
            dict(_uniform, layer='Conv2d'),
            dict(type='Constant', layer='_BatchNorm', val=1, bias=0),
        ],
    ),
    head=dict(_base_.model.head, init_cfg=dict(_uniform, layer='Linear')),
)

model = dict(
    _delete_=True,
    type='mmcompress.DCFF',
    architecture=_architecture,
    mutator_cfg=dict(
        type='DCFFMutator',
        channel_unit_cfg=dict(type='DCFFUnit', default_args=dict(fuse_all=True)),
    ),
    # Of each convolution, as the authors' program takes them.
    target_pruning_ratio=dict(pruning_rates='[0.5]*2+[0.4]*2+[0.35]*3+[0.85]*6'),
    fuse_interval=1,
)
