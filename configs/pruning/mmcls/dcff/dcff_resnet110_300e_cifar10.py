# DCFF on ResNet-110, CIFAR-10. Published: 85.30M MACs, 0.56M parameters, 93.80 %.
_base_ = [
    '../../../_base_/models/resnet110_cifar.py',
    '../../../_base_/datasets/cifar10_bs256.py',
    '../../../_base_/schedules/cifar_300e.py',
    '../../../_base_/cls_runtime.py',
]

# Pruning rates of the first convolution of every block, then of the three residual streams, as the
# authors' program takes them. The stem's unit is the first stage's stream.
_rates = (
    '[0.2, 0.0, 0.2, 0.3, 0.7, 0.7, 0.1, 0.3, 0.3, 0.4, 0.7, 0.7, 0.5, 0.1, 0.3, 0.0, 0.6, 0.0]+'
    '[0.2, 0.5, 0.0, 0.7, 0.7, 0.5, 0.7, 0.7, 0.4, 0.4, 0.0, 0.3, 0.1, 0.5, 0.1, 0.1, 0.1, 0.7]+'
    '[0.1, 0.1, 0.3, 0.3, 0.3, 0.3, 0.3, 0.5, 0.7, 0.2, 0.4, 0.7, 0.7, 0.7, 0.7, 0.7, 0.5, 0.1]+'
    '[0.6]+[0.2]+[0.5]'
)
_order = ['backbone.layer*.conv1_*', 'backbone.conv1_*', 'backbone.layer[23].0.conv2_*']
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
    target_pruning_ratio=dict(pruning_rates=_rates, order=_order),
    fuse_interval=1,
)
