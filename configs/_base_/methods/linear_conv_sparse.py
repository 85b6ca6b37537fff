# LinearConv with combinations of which a quarter is zero in the end: the sparsity in the example of
# the authors' README; that of the published networks isn't stated there.
_base_ = ['linear_conv_linear.py']

compression = dict(
    mutator_cfg=dict(
        filter_unit_cfg=dict(default_args=dict(variant='sparse', target_sparsity=0.25))
    ),
    l1=0.01,
    mask_interval=500,
    threshold_step=1e-5,
)
