# DCFF on the pose estimator of the demo, with the method file of every ResNet-18.
_base_ = ['dense_heatmap_r18_digits.py', '../_base_/methods/dcff_r18.py']

model = dict(_delete_=True, architecture=_base_.model, **_base_.compression)
