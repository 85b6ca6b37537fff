# Shared basis on ResNet-34, ImageNet: 48 shared filters and a unique one, times 1, 2, 4 and 8;
# first and second convolutions of blocks share with their like.
# Published: 11.79M parameters, 3.26G MACs, 26.67 % error.
_base_ = ['shared_basis_double-s32u1_resnet34_150e_in1k.py']

_units = {
    f'backbone.layer{_i + 1}*': dict(init_args=dict(shared_rank=48 * 2**_i, unique_rank=2**_i))
    for _i in range(4)
}
model = dict(mutator_cfg=dict(filter_unit_cfg=dict(units=_units)))
