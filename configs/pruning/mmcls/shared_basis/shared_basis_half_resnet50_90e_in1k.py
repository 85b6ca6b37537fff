# Shared basis on ResNet-50, ImageNet: half of the parameters of its 3x3 convolutions, which start
# from mmpretrain's network (76.55 top-1). The schedule is ours, a tenth of mmpretrain's learning
# rate.
# Counted here: 21.46M parameters stored (dense 25.56M); at run time 24.57M and 4013M MACs (4112M).
_base_ = [
    '../../../dense/dense_resnet50_90e_in1k.py',
    '../../../_base_/methods/shared_basis_r50.py',
]

model = dict(_delete_=True, architecture=_base_.model, **_base_.compression)
