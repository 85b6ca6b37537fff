# Filter basis on the segmenter of the demo, all of it: the dense network, then half of the
# parameters of 3x3 convolutions in its backbone, which start from the dense ones, then the exported
# network.
# Measured, seed 0: mIoU 70.8 dense, 72.2 fine-tuned and exported. 7.31M parameters (12.82M), stored
# and at run time, 1125M MACs at 96x96 (1951M).
stages = [
    dict(name='dense', config='dense_fcn_r18_digits.py'),
    dict(name='finetune', config='filter_basis_fcn_r18_digits_finetune.py'),
]
