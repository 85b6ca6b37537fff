# Filter basis on EDSR (32 blocks, 256 channels), x4, s=256 b=32. Published: 164k parameters a
# residual block, Set5 32.39 dB (dense 32.48).
# Counted here: 10.59M parameters, of which a residual block has 164,416.
_base_ = [
    '../../../dense/dense_edsr_x4_300e_div2k.py',
    '../../../_base_/methods/filter_basis_edsr.py',
]

model = dict(_delete_=True, architecture=_base_.model, **_base_.compression)
model['mutator_cfg']['filter_unit_cfg']['default_args'].update(basis_size=256, num_filters=32)
