# Filter basis on ResNet-34, ImageNet: half of the parameters of its 3x3 convolutions, which start
# from mmpretrain's network (73.62 top-1). The schedule is ours, a tenth of mmpretrain's learning
# rate.
# Counted here: 1892M MACs (dense 3671M), 11.23M parameters (21.80M), stored and at run time.
_base_ = [
    '../../../dense/dense_resnet34_90e_in1k.py',
    '../../../_base_/methods/filter_basis_r34.py',
]

model = dict(_delete_=True, architecture=_base_.model, **_base_.compression)
