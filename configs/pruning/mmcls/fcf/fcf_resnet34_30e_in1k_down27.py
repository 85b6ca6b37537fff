# FCF on ResNet-34, ImageNet, stage 1, sparse rate 0.19.
# Published: 26.83 % fewer FLOPs. Counted here: 26.62 %.
_base_ = ['fcf_resnet34_30e_in1k.py']

model = dict(target_pruning_ratio=0.81)
