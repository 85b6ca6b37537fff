# DCFF on GoogLeNet, CIFAR-10. Published: 457.22M MACs, 2.08M parameters, 94.92 %.
_base_ = [
    '../../../_base_/models/googlenet_cifar.py',
    '../../../_base_/datasets/cifar10_bs256.py',
    '../../../_base_/schedules/cifar_300e.py',
    '../../../_base_/cls_runtime.py',
]

# The authors' program fuses the filters of layers that keep all of theirs too, and starts as
# PyTorch does: uniform by fan in, within 1 / sqrt(fan in).
_uniform = dict(
    type='Kaiming', a=5**0.5, mode='fan_in', nonlinearity='leaky_relu', distribution='uniform'
)
_architecture = dict(
    _base_.model,
    backbone=dict(
        _base_.model.backbone,
        init_cfg=[
            dict(_uniform, layer='Conv2d'),
            dict(type='Constant', layer='_BatchNorm', val=1, bias=0),
        ],
    ),
    head=dict(_base_.model.head, init_cfg=dict(_uniform, layer='Linear')),
)

# The layers between a branch's first and last one, which keep a fifth or a tenth.
_inner = ('branch3x3.conv1', 'branch5x5.conv1', 'branch5x5.conv2')
_keep = {
    f'backbone.{_block}.{_layer}_*': _ratio
    for _blocks, _ratio in ((('a3', 'c4', 'd4', 'e4'), 0.2), (('b3', 'a4', 'b4', 'a5', 'b5'), 0.1))
    for _block in _blocks
    for _layer in _inner
}
# The authors' program rounds down, and in floating point 160 (1 - 0.8) is a little less than 32,
# 160 (1 - 0.9) than 16. With 32 and 16 the network has 2,086,376 parameters.
_keep.update({'backbone.e4.branch3x3.conv1_*': 31 / 160, 'backbone.a5.branch3x3.conv1_*': 15 / 160})

model = dict(
    _delete_=True,
    type='mmcompress.DCFF',
    architecture=_architecture,
    mutator_cfg=dict(
        type='DCFFMutator',
        channel_unit_cfg=dict(type='DCFFUnit', default_args=dict(fuse_all=True)),
    ),
    target_pruning_ratio=_keep,
    fuse_interval=1,
)
