# FCF on ResNet-34, ImageNet, with 26.83 % fewer FLOPs (published) by widths of our own:
# inputs of blocks stay, and widths are multiples of 16. The paper's network is
# fcf_resnet34_30e-90e_in1k_rate15.py. Counted here: 26.79 %.
_base_ = ['fcf_resnet34_30e-90e_in1k.py', '../../../_base_/ratios/fcf_r34_down27.py']

model = dict(
    mutator_cfg=dict(cut_inputs=False),
    target_pruning_ratio=dict(_delete_=True, **_base_.keep),
)
