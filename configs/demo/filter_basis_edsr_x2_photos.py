# Filter basis on the EDSR of the demo, all of it: the dense network, then half of the parameters of
# its residual blocks, which start from the dense ones, then the exported network.
# Measured, seed 0: PSNR of luma 32.35 dB by bicubic, 33.58 dense, 33.64 fine-tuned and exported.
# 120,195 parameters (195,971), 500M MACs at 64x64 (810M).
stages = [
    dict(name='dense', config='dense_edsr_x2_photos.py'),
    dict(name='finetune', config='filter_basis_edsr_x2_photos_finetune.py'),
]
