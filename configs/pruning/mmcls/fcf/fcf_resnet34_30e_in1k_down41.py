# FCF on ResNet-34, ImageNet, stage 1, with 41.37 % fewer FLOPs (published). Counted here: 41.52 %.
_base_ = ['fcf_resnet34_30e_in1k.py', '../../../_base_/ratios/fcf_r34_down41.py']

model = dict(target_pruning_ratio=dict(_delete_=True, **_base_.keep))
