# FCF on ResNet-50, ImageNet, stage 1: which filters of each layer can go; sparse rate 0.25.
# From mmpretrain's network (76.55 top-1).
# As in the authors' program, convolutions also lose the inputs that the block before lost
# (`cut_inputs`); its v multiplies the weight in front of the norm (`scale='weight'`), ours the
# output of the norm, which has a gradient.
# Counted here: 2530M MACs (dense 4112M), 16.50M parameters (25.56M).
_base_ = [
    'mmpretrain::_base_/models/resnet50.py',
    'mmpretrain::_base_/datasets/imagenet_bs32.py',
    'mmpretrain::_base_/default_runtime.py',
    '../../../_base_/methods/fcf_r50.py',
    '../../../_base_/schedules/fcf_30e.py',
]
custom_imports = dict(imports=['mmcompress'], allow_failed_imports=False)

_published = dict(_base_.compression)
_published['mutator_cfg'] = dict(_published['mutator_cfg'], cut_inputs=True)
model = dict(_delete_=True, architecture=_base_.model, **_published)
load_from = (
    'https://download.openmmlab.com/mmclassification/v0/resnet/'
    'resnet50_8xb32_in1k_20210831-ea4938fc.pth'
)

flops_shape = (224, 224)  # height and width

auto_scale_lr = dict(base_batch_size=256)  # 8 GPUs x 32 images

default_hooks = dict(
    compression=dict(type='mmcompress.CompressionHook'),
    reseed=dict(type='mmcompress.ReseedHook'),
)
