# Shared++ on MobileNetV2, CIFAR-100. In the authors' program; no row is published.
# As there, all starts from PyTorch's own initialization, nothing orthogonal.
_base_ = [
    '../../../dense/dense_mobilenet-v2_300e_cifar100.py',
    '../../../_base_/methods/shared_basis_mobilenetv2_plusplus.py',
]

model = dict(_delete_=True, architecture=_base_.model, orthogonal_start=False, **_base_.compression)
