# FCF on ResNet-50, ImageNet, sparse rate 0.31, the rate in the authors' README.
# Counted here: 46.28 %, 14.68M parameters.
_base_ = ['fcf_resnet50_30e-90e_in1k.py']

model = dict(target_pruning_ratio=0.69)
