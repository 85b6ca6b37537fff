# Filter basis on ResNet-56, CIFAR-10. Published: 186k parameters, 6.60 % error (dense 6.28 %).
# Counted here: 204k parameters, 200M MACs.
_base_ = [
    'dense_resnet56_stem_bias_300e_cifar10.py',
    '../../../_base_/methods/filter_basis_cifar_resnet.py',
]

model = dict(_delete_=True, architecture=_base_.model, **_base_.compression)

default_hooks = dict(
    compression=dict(type='mmcompress.CompressionHook'),
    reseed=dict(type='mmcompress.ReseedHook'),
)
