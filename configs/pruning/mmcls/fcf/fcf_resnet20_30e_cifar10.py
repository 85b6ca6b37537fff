# FCF on ResNet-20, CIFAR-10, stage 1: which filters of each layer can go; sparse rate 0.25.
# From dense_resnet20_200e_cifar10.py.
# As in the authors' program, convolutions also lose the inputs that the block before lost
# (`cut_inputs`); its v multiplies the weight in front of the norm (`scale='weight'`), ours the
# output of the norm, which has a gradient.
_base_ = [
    '../../../_base_/models/resnet20_projection_cifar.py',
    '../../../_base_/datasets/cifar10_bs128.py',
    '../../../_base_/schedules/fcf_30e.py',
    'mmpretrain::_base_/default_runtime.py',
]
custom_imports = dict(imports=['mmcompress'], allow_failed_imports=False)

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
load_from = 'work_dirs/dense_resnet20_200e_cifar10/epoch_200.pth'

auto_scale_lr = dict(base_batch_size=128)

default_hooks = dict(
    compression=dict(type='mmcompress.CompressionHook'),
    reseed=dict(type='mmcompress.ReseedHook'),
)
