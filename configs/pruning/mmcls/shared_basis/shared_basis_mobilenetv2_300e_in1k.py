# Shared basis on MobileNetV2, ImageNet.
# Published: 3.24M parameters, 0.33G MACs (printed doubled), 27.61 % error.
_base_ = ['dense_mobilenetv2_150e_in1k.py', '../../../_base_/methods/shared_basis_mobilenetv2.py']

model = dict(_delete_=True, architecture=_base_.model, **_base_.compression)

default_hooks = dict(
    compression=dict(type='mmcompress.CompressionHook'),
    reseed=dict(type='mmcompress.ReseedHook'),
)
