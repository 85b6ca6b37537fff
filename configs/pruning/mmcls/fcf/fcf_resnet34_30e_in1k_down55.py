# FCF on ResNet-34, ImageNet, stage 1, sparse rate 0.44.
# Published: 54.87 % fewer FLOPs. Counted here: 55.21 %.
_base_ = ['fcf_resnet34_30e_in1k.py']

model = dict(target_pruning_ratio=0.56)
