# Filter basis on the EDSR of the demo, all of it: the dense network, then half of the parameters of
# its residual blocks, which start from the dense ones, then the exported network.
stages = [
    dict(name='dense', config='dense_edsr_x2_photos.py'),
    dict(name='finetune', config='filter_basis_edsr_x2_photos_finetune.py'),
]
