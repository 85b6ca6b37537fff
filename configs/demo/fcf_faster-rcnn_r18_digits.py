# FCF on the detector of the demo, all of it: the dense network, then which quarter of its
# backbone's filters can go, then training without them, then the exported network.
# Measured, seed 0: bbox mAP 0.774 dense, 0.790 rounded, 0.816 fine-tuned and exported.
# 8.38M parameters (12.31M), 331M MACs at 96x96 (440M).
stages = [
    dict(name='dense', config='dense_faster-rcnn_r18_digits.py'),
    dict(name='factorize', config='fcf_faster-rcnn_r18_digits_factorize.py'),
    dict(name='finetune', config='fcf_faster-rcnn_r18_digits_finetune.py'),
]
