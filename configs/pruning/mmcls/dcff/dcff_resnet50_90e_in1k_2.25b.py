# DCFF on ResNet-50, ImageNet, 90 epochs with steps, the authors' recipe. Published: 2.25B MACs,
# 15.16M parameters, 75.18 %. The widths are those of the MM recipe.
_base_ = ['dcff_resnet50_8xb32_in1k.py']

param_scheduler = dict(milestones=[30, 60], gamma=0.1)
train_cfg = dict(max_epochs=90)
