# FCF on ResNet-34, ImageNet, stage 3: what an export of
# fcf_finetune_resnet34_90e_in1k_down66.py has.
_base_ = ['fcf_compact_resnet34_in1k.py', '../../../_base_/ratios/fcf_r34_down66.py']

model = dict(
    fix_subnet=dict(
        mutator_cfg=dict(cut_inputs=False),
        target_pruning_ratio=dict(_delete_=True, **_base_.keep),
    )
)
