# FCF on the pose estimator of the demo, all of it: the dense network, then which quarter of its
# backbone's filters can go, then training without them, then the exported network.
# Measured, seed 0: AP 0.712 dense, 0.680 rounded, 0.719 fine-tuned and exported.
# 8.83M parameters (12.75M), 125M MACs at 64x64 (174M).
stages = [
    dict(name='dense', config='dense_heatmap_r18_digits.py'),
    dict(name='factorize', config='fcf_heatmap_r18_digits_factorize.py'),
    dict(name='finetune', config='fcf_heatmap_r18_digits_finetune.py'),
]
