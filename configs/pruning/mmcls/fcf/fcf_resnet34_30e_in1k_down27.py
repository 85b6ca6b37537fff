# FCF on ResNet-34, ImageNet, stage 1, with 26.83 % fewer FLOPs (published). Counted here: 26.79 %.
_base_ = ['fcf_resnet34_30e_in1k.py', '../../../_base_/ratios/fcf_r34_down27.py']

model = dict(target_pruning_ratio=dict(_delete_=True, **_base_.keep))
