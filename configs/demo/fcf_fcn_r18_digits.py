# FCF on the segmenter of the demo, all of it: the dense network, then which quarter of its
# backbone's filters can go, then training without them, then the exported network.
stages = [
    dict(name='dense', config='dense_fcn_r18_digits.py'),
    dict(name='factorize', config='fcf_fcn_r18_digits_factorize.py'),
    dict(name='finetune', config='fcf_fcn_r18_digits_finetune.py'),
]
