# Filter basis on SRResNet, x4, Basis-64-14. Published: 18k parameters a residual block, Set5
# 31.84 dB (dense 32.03).
# Counted here: 644k parameters, of which a residual block has 18,389.
_base_ = [
    '../../../dense/dense_srresnet_x4_300e_div2k.py',
    '../../../_base_/methods/filter_basis_srresnet.py',
]

_base_.model.backbone.act_last = True
model = dict(_delete_=True, architecture=_base_.model, **_base_.compression)
