# EDSR-8-128, x4, dense: what filter_basis_*_edsr8_x4_300e_div2k.py compress. Published: Set5
# 32.10 dB.
# Counted here: 3.70M parameters, of which a residual block has 295k.
_base_ = [
    '../_base_/models/edsr_8_128.py',
    '../_base_/datasets/div2k_x4.py',
    '../_base_/schedules/sr_300e.py',
    '../_base_/sr_runtime.py',
]
