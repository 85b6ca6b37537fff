# DCFF on ResNet-20, about half the MACs: 70 % of every width.
_base_ = ['dense_resnet20_digits.py']

model = dict(
    _delete_=True,
    type='mmcompress.DCFF',
    architecture=_base_.model,
    target_pruning_ratio=0.7,
    fuse_interval=1,
)
