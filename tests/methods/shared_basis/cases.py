"""Settings of the method that every op is seen with by tests/core/base/test_op.py."""

UNITS = {'block': dict(layers=['backbone.conv3', 'backbone.conv4'], choice=0.5)}
CASES = [
    dict(mutator_cfg=dict(type='SharedBasisMutator', filter_unit_cfg=dict(units=UNITS))),
]
