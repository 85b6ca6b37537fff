# Shared basis on MobileNetV2, ImageNet.
# Published: 3.24M parameters, 0.33G MACs (printed doubled), 27.61 % error.
# Schedule and weight decay are those of the authors' program and command. As there, all starts from
# PyTorch's own initialization, nothing orthogonal.
_base_ = [
    '../../../dense/dense_mobilenet-v2_300e_in1k.py',
    '../../../_base_/methods/shared_basis_mobilenetv2.py',
]

model = dict(_delete_=True, architecture=_base_.model, orthogonal_start=False, **_base_.compression)
