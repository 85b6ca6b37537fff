# Shared basis on MobileNetV2, CIFAR-100.
# Published: 2.16M parameters, 0.07G MACs (printed doubled), 27.70 % error.
# As in the authors' program, all starts from PyTorch's own initialization, nothing orthogonal.
_base_ = [
    '../../../dense/dense_mobilenet-v2_300e_cifar100.py',
    '../../../_base_/methods/shared_basis_mobilenetv2.py',
]

model = dict(_delete_=True, architecture=_base_.model, orthogonal_start=False, **_base_.compression)
