# LinearConv on ResNet-20, from scratch: half of the parameters, every second combination zero in
# the end. A short run looks at the masks more often, and takes larger steps, than the published 500
# iterations and 1e-5; the weights of its losses are a tenth of the published ones.
_base_ = ['linear_conv_resnet20_linear_digits.py']

model = dict(
    mutator_cfg=dict(
        filter_unit_cfg=dict(default_args=dict(variant='sparse', target_sparsity=0.5)),
    ),
    correlation=0.001,
    l1=0.001,
    mask_interval=5,
    threshold_step=0.01,
)
