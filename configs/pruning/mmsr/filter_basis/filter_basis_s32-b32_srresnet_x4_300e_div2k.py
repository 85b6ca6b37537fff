# Filter basis on SRResNet, x4, Basis-32-32: two groups of 32 channels. One of the authors' models.
_base_ = ['filter_basis_s64-b14_srresnet_x4_300e_div2k.py']

model = dict(
    mutator_cfg=dict(filter_unit_cfg=dict(default_args=dict(basis_size=32, num_filters=32)))
)
