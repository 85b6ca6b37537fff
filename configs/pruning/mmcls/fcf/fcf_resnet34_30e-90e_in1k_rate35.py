# FCF on ResNet-34, ImageNet, sparse rate 0.35. Published: 54.87 % fewer FLOPs.
# Counted here: 55.19 %, 9.58M parameters.
_base_ = ['fcf_resnet34_30e-90e_in1k.py']

model = dict(target_pruning_ratio=0.65)
