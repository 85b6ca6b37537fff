# SRResNet with 16 blocks of 64 channels, x4, as the filter basis authors build it. Images of 0 to
# 255 go in and come out, with no mean taken off.
model = dict(
    type='mmcompress.SuperResolver',
    backbone=dict(type='mmcompress.SRResNet', num_blocks=16, width=64, scale=4),
    data_preprocessor=dict(type='mmcompress.SRDataPreprocessor', mean=None),
)
flops_shape = (3, 24, 24)  # (C, H, W) of the input: a patch of training
