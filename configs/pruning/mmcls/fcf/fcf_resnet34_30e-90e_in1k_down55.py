# FCF on ResNet-34, ImageNet, with 54.87 % fewer FLOPs (published) by widths of our own:
# inputs of blocks stay, and widths are multiples of 16. The paper's network is
# fcf_resnet34_30e-90e_in1k_rate35.py. Counted here: 54.75 %.
_base_ = ['fcf_resnet34_30e-90e_in1k.py', '../../../_base_/ratios/fcf_r34_down55.py']

model = dict(
    mutator_cfg=dict(cut_inputs=False),
    target_pruning_ratio=dict(_delete_=True, **_base_.keep),
)
