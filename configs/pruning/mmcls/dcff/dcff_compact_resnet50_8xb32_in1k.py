# The network that an export of dcff_resnet50_8xb32_in1k.py has,
# to test its weights: `python tools/test.py THIS_FILE --work-dir WORK_DIR` takes
# WORK_DIR/export/compact.pth. The widths follow from the keep ratios of that recipe.
_base_ = ['dcff_resnet50_8xb32_in1k.py']

model = dict(
    _delete_=True,
    type='mmcompress.sub_model',
    cfg=_base_.model.architecture,
    fix_subnet=_base_.model,
)
