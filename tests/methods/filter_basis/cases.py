"""Settings of the method that every op is seen with by tests/core/base/test_op.py."""

UNIT = dict(type='FilterBasisUnit')
NORM = dict(default_args=dict(norm_cfg=dict(type='BN'), act_cfg=dict(type='PReLU')))
CASES = [
    dict(target_pruning_ratio=0.5),
    dict(
        target_pruning_ratio=0.5,
        mutator_cfg=dict(type='FilterBasisMutator', filter_unit_cfg=dict(UNIT, **NORM)),
    ),
    dict(
        target_pruning_ratio=0.5,
        mutator_cfg=dict(
            type='FilterBasisMutator',
            filter_unit_cfg=dict(UNIT, default_args=dict(basis_bias=True, coefficient_bias=True)),
        ),
    ),
]
