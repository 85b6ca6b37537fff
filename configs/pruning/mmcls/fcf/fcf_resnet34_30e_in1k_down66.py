# FCF on ResNet-34, ImageNet, stage 1, sparse rate 0.55.
# Published: 66.05 % fewer FLOPs. Counted here: 65.74 %.
_base_ = ['fcf_resnet34_30e_in1k.py']

model = dict(target_pruning_ratio=0.45)
