# Shared basis on ResNet-32, CIFAR-10: 8 shared filters for the first stage and one unique filter
# for each of its layers, 16 and 2 for the second, 32 and 4 for the third.
# Published: 0.15M parameters, 0.05G MACs (printed doubled), 8.08 % error.
_base_ = ['dense_resnet32_300e_cifar10.py', '../../../_base_/methods/shared_basis_cifar_resnet.py']

model = dict(_delete_=True, architecture=_base_.model, **_base_.compression)

default_hooks = dict(
    compression=dict(type='mmcompress.CompressionHook'),
    reseed=dict(type='mmcompress.ReseedHook'),
)
