# DCFF on the detector of the demo, with the method file of every ResNet-18.
# Measured, seed 0: bbox mAP 0.793 (dense 0.774).
# 8.17M parameters (12.31M), 323M MACs at 96x96 (440M).
_base_ = ['dense_faster-rcnn_r18_digits.py', '../_base_/methods/dcff_r18.py']

model = dict(
    _delete_=True,
    architecture=_base_.model,
    **{
        **_base_.compression,
        'mutator_cfg': dict(type='DCFFMutator'),
    },  # widths as they were measured
)
