# Filter basis on EDSR (32 blocks, 256 channels), x3, s=256 b=32, one basis for both convolutions
# of a block: Basis-S. One of the authors' models.
_base_ = ['filter_basis_s256-b32_edsr_x3_300e_div2k.py']

model = dict(mutator_cfg=dict(parse_cfg=dict(rule='block')))
