# Filter basis on VGG-16, CIFAR-10, with biases, as the authors' published command trains it.
# Published: 3.21M parameters, 6.18 % error (dense 5.98 %).
# Counted here: 3.24M parameters, 203M MACs.
_base_ = ['filter_basis_vgg16_300e_cifar10.py']

model = dict(
    architecture=dict(backbone=dict(conv_bias=True)),
    mutator_cfg=dict(filter_unit_cfg=dict(default_args=dict(basis_bias=True))),
)
