# SRResNet, x4, dense: what filter_basis_*_srresnet_x4_300e_div2k.py compress. Published: Set5
# 32.03 dB.
# Counted here: 1.54M parameters, of which a residual block has 74k.
_base_ = [
    '../_base_/models/srresnet_16_64.py',
    '../_base_/datasets/div2k_x4.py',
    '../_base_/schedules/sr_300e.py',
    '../_base_/sr_runtime.py',
]

# Patches of 24 x 24 pixels in.
train_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(type='mmcompress.PairedRandomCrop', patch=96),
            dict(type='mmcompress.PairedFlipRotate'),
            dict(type='mmcompress.PackSRInputs'),
        ]
    )
)
