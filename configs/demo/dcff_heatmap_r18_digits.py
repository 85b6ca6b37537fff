# DCFF on the pose estimator of the demo, with the method file of every ResNet-18.
# Measured, seed 0: AP 0.696, PCK 0.972 (dense 0.712, 0.976).
# 8.51M parameters (12.75M), 122M MACs at 64x64 (174M).
_base_ = ['dense_heatmap_r18_digits.py', '../_base_/methods/dcff_r18.py']

model = dict(
    _delete_=True,
    architecture=_base_.model,
    **{
        **_base_.compression,
        'mutator_cfg': dict(type='DCFFMutator'),
    },  # widths as they were measured
)
