# EDSR with 8 blocks of 128 channels, x4, which the filter basis authors call EDSR-8-128. It has the
# mean of DIV2K inside, in layers that its published count includes; so the preprocessor has none,
# and images stay those of 0 to 255.
_mean = (0.4488 * 255, 0.4371 * 255, 0.4040 * 255)
model = dict(
    type='mmcompress.SuperResolver',
    backbone=dict(type='mmcompress.EDSR', num_blocks=8, width=128, scale=4, mean=_mean),
    data_preprocessor=dict(type='mmcompress.SRDataPreprocessor', mean=None),
)
flops_shape = (3, 48, 48)  # (C, H, W) of the input: a patch of training
