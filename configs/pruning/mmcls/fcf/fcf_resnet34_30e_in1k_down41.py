# FCF on ResNet-34, ImageNet, stage 1, sparse rate 0.313.
# Published: 41.37 % fewer FLOPs. Counted here: 41.66 %.
_base_ = ['fcf_resnet34_30e_in1k.py']

model = dict(target_pruning_ratio=0.687)
