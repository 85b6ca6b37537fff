# Filter basis on EDSR-8-128, x4, Basis-128-40. Published: 102k parameters a residual block, Set5
# 32.03 dB (dense 32.10).
# Counted here: 2.16M parameters, of which a residual block has 102,736.
_base_ = ['filter_basis_s128-b27_edsr8_x4_300e_div2k.py']

model = dict(mutator_cfg=dict(filter_unit_cfg=dict(default_args=dict(num_filters=40))))
