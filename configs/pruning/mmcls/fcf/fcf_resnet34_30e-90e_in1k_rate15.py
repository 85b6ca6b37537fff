# FCF on ResNet-34, ImageNet, sparse rate 0.15. Published: 26.83 % fewer FLOPs.
# Counted here: 26.87 %, 15.90M parameters.
_base_ = ['fcf_resnet34_30e-90e_in1k.py']

model = dict(target_pruning_ratio=0.85)
