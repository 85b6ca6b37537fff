# EDSR (32 blocks, 256 channels), x4, dense: what filter_basis_s256-b32*_edsr_x4_300e_div2k.py
# compress. Published: Set5 32.48 dB.
# Counted here: 43.09M parameters, of which a residual block has 1.18M.
_base_ = [
    '../_base_/models/edsr_32_256.py',
    '../_base_/datasets/div2k_x4.py',
    '../_base_/schedules/sr_300e.py',
    '../_base_/sr_runtime.py',
]
