# Shared++ on MobileNetV2, ImageNet. Published: 2.98M parameters, 0.33G MACs, 28.21 % error.
# As in the authors' program, all starts from PyTorch's own initialization, nothing orthogonal. Its
# last version has attention (ECA) in it, of 17 parameters; this network is the one without.
_base_ = [
    '../../../dense/dense_mobilenet-v2_300e_in1k.py',
    '../../../_base_/methods/shared_basis_mobilenetv2_plusplus.py',
]

model = dict(_delete_=True, architecture=_base_.model, orthogonal_start=False, **_base_.compression)
