# Filter basis on EDSR (32 blocks, 256 channels), x3, s=256 b=32. One of the authors'
# models.
_base_ = [
    '../../../dense/dense_edsr_x3_300e_div2k.py',
    '../../../_base_/methods/filter_basis_edsr.py',
]

model = dict(_delete_=True, architecture=_base_.model, **_base_.compression)
model['mutator_cfg']['filter_unit_cfg']['default_args'].update(basis_size=256, num_filters=32)
