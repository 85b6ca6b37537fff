"""Settings of the method that every op is seen with by tests/core/base/test_op.py."""

CASES = [
    dict(target_pruning_ratio=0.5, mutator_cfg=dict(type='FCFMutator', scope=scope, skip=[]))
    for scope in ('filter', 'unit')
]
