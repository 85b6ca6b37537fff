# Shared basis on ResNet-20, fine-tuned: the blocks of a stage, its first one aside, share filters
# beside one, two or four of each layer's own; half of their parameters. Starts from
# dense_resnet20_digits.py; shared_basis_resnet20_digits.py runs both. A fifth of the dense
# network's learning rate and of its epochs.
# Measured from one dense network (100.0), seeds 0, 1, 2 of fine-tuning: 10.0 before, 100.0, 99.75
# and 100.0 after; with model.init=kaiming and model.orthogonality_terms.unique=True 10.0 before,
# 93.75, 95.5 and 96.5 after.
_base_ = ['filter_basis_resnet20_digits_finetune.py']

model = dict(
    _delete_=True,
    type='mmcompress.SharedBasis',
    architecture=_base_.model.architecture,
    mutator_cfg=dict(
        type='SharedBasisMutator',
        parse_cfg=dict(rule='stage', skip_first_block=True, include='backbone.layer*'),
        filter_unit_cfg=dict(
            type='SharedBasisUnit',
            units={
                f'backbone.layer{_i + 1}*': dict(init_args=dict(unique_rank=2**_i))
                for _i in range(3)
            },
        ),
    ),
    target_pruning_ratio=0.5,
    init='svd',
    orthogonality=10.0,
    orthogonality_terms=dict(unique=False),  # shared filters only
)
