# FCF on ResNet-34, ImageNet, sparse rate 0.45: 66.05 % fewer FLOPs (published).
# Counted here: 66.57 %, 7.05M parameters.
_base_ = ['fcf_resnet34_30e-90e_in1k.py']

model = dict(target_pruning_ratio=0.55)
