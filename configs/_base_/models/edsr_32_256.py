# EDSR as its authors train it, with 32 blocks of 256 channels, x4. The mean is inside, as in
# edsr_8_128.py.
_mean = (0.4488 * 255, 0.4371 * 255, 0.4040 * 255)
model = dict(
    type='mmcompress.SuperResolver',
    backbone=dict(
        type='mmcompress.EDSR', num_blocks=32, width=256, scale=4, res_scale=0.1, mean=_mean
    ),
    data_preprocessor=dict(type='mmcompress.SRDataPreprocessor', mean=None),
)
flops_shape = (3, 48, 48)  # (C, H, W) of the input: a patch of training
