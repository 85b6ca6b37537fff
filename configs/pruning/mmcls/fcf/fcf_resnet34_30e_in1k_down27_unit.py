# FCF on the channel units of ResNet-34, ImageNet, stage 1, sparse rate 0.141.
# 26.93 % fewer FLOPs, next to the published 26.83 %.
_base_ = ['fcf_resnet34_30e_in1k.py']

model = dict(mutator_cfg=dict(scope='unit'), target_pruning_ratio=0.859)
