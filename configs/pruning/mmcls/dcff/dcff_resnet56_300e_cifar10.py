# DCFF on ResNet-56, CIFAR-10. Published: 55.84M MACs, 0.38M parameters, 93.26 %.
_base_ = [
    '../../../_base_/models/resnet56_cifar.py',
    '../../../_base_/datasets/cifar10_bs256.py',
    '../../../_base_/schedules/cifar_300e.py',
    '../../../_base_/cls_runtime.py',
]

# Pruning rates of the first convolution of every block; the residual streams stay.
_rates = dict(
    layer1=[0.7] * 2 + [0.5] * 3 + [0.3] * 2 + [0.4, 0.8],
    layer2=[0.7] * 2 + [0.8] * 4 + [0.4] + [0.2] * 2,
    layer3=[0.7, 0.3, 0.8, 0.4, 0.4, 0.7, 0.3, 0.4, 0.8],
)
_keep = {
    f'backbone.{_layer}.{_block}.conv1_*': 1 - _rate
    for _layer, _list in _rates.items()
    for _block, _rate in enumerate(_list)
}
# The authors' program fuses the filters of layers that keep all of theirs too, and starts from
# Kaiming's normal distribution by fan in, the classifier as well.
_normal = dict(type='Kaiming', mode='fan_in')
_architecture = dict(
    _base_.model,
    backbone=dict(
        _base_.model.backbone,
        init_cfg=[
            dict(_normal, layer='Conv2d'),
            dict(type='Constant', layer='_BatchNorm', val=1, bias=0),
        ],
    ),
    head=dict(_base_.model.head, init_cfg=dict(_normal, layer='Linear')),
)

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
