"""Settings of the method that every op is seen with by tests/core/base/test_op.py."""


def variant(**settings):
    unit = dict(type='LinearConvUnit', default_args=settings)
    return dict(mutator_cfg=dict(type='LinearConvMutator', filter_unit_cfg=unit))


CASES = [
    dict(target_pruning_ratio=0.6),
    variant(variant='linear'),
    variant(variant='lowrank', rank=2),
    variant(variant='sparse', target_sparsity=0.5),
]
