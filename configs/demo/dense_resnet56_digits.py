# ResNet-56 on the embedded digits, dense: fifteen epochs.
_base_ = ['dense_resnet20_digits.py']

model = dict(backbone=dict(depth=56))
