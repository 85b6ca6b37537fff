# FCF on ResNet-20, CIFAR-10, all of it: the dense network, then which filters of each layer can
# go (sparse rate 0.25), then training without them, then the exported network.
# As in the authors' program, convolutions also lose the inputs that the block before lost
# (`cut_inputs`); its v multiplies the weight in front of the norm (`scale='weight'`), ours the
# output of the norm, which has a gradient.
_base_ = [
    '../../../_base_/models/resnet20_projection_cifar.py',
    '../../../_base_/datasets/cifar10_bs128.py',
    '../../../_base_/schedules/fcf_30e.py',
    '../../../_base_/cls_runtime.py',
]

model = dict(
    _delete_=True,
    type='mmcompress.FCF',
    architecture=_base_.model,
    mutator_cfg=dict(type='FCFMutator', scope='filter', cut_inputs=True),
    target_pruning_ratio=0.75,
    rho=0.01,
    mu=1.01,
    alpha=0.99,
)

auto_scale_lr = dict(base_batch_size=128)

stages = [
    dict(name='dense', config='../../../dense/dense_resnet20_200e_cifar10.py'),
    dict(name='factorize'),
    dict(
        name='finetune',
        cfg_options=dict(
            model=dict(stage='finetune'),
            optim_wrapper=dict(optimizer=dict(lr=0.01, momentum=0.9, weight_decay=1e-4)),
            param_scheduler=dict(milestones=[60, 120]),
            train_cfg=dict(max_epochs=150),
        ),
    ),
]
