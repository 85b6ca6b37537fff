# FCF on ResNet-32, CIFAR-10, stage 3: the network that an export of
# fcf_finetune_resnet32_150e_cifar10.py has. To test its weights:
# `python tools/test.py THIS_FILE --work-dir WORK_DIR` takes WORK_DIR/export/compact.pth.
_base_ = ['fcf_finetune_resnet32_150e_cifar10.py']

model = dict(
    _delete_=True,
    type='mmcompress.sub_model',
    cfg=_base_.model.architecture,
    fix_subnet=_base_.model,
)
load_from = None
