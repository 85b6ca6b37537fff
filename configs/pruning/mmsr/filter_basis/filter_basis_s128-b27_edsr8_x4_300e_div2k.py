# Filter basis on EDSR-8-128, x4, Basis-128-27. Published: 69k parameters a residual block, Set5
# 31.95 dB (dense 32.10).
# Counted here: 1.89M parameters, of which a residual block has 69,430.
_base_ = [
    '../../../dense/dense_edsr8_x4_300e_div2k.py',
    '../../../_base_/methods/filter_basis_edsr.py',
]

model = dict(_delete_=True, architecture=_base_.model, **_base_.compression)
