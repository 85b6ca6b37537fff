# FCF on the segmenter of the demo, all of it: the dense network, then which quarter of its
# backbone's filters can go, then training without them, then the exported network.
# Measured, seed 0: mIoU 70.8 dense, 69.9 rounded, 70.3 fine-tuned and exported.
# 8.90M parameters (12.82M), 1364M MACs at 96x96 (1951M).
stages = [
    dict(name='dense', config='dense_fcn_r18_digits.py'),
    dict(name='factorize', config='fcf_fcn_r18_digits_factorize.py'),
    dict(name='finetune', config='fcf_fcn_r18_digits_finetune.py'),
]
