# FCF on ResNet-34, ImageNet, stage 3: the network that an export of
# fcf_finetune_resnet34_90e_in1k.py has. To test its weights:
# `python tools/test.py THIS_FILE --work-dir WORK_DIR` takes WORK_DIR/export/compact.pth.
_base_ = ['fcf_finetune_resnet34_90e_in1k.py']

model = dict(
    _delete_=True,
    type='mmcompress.sub_model',
    cfg=_base_.model.architecture,
    fix_subnet=_base_.model,
)
load_from = None
