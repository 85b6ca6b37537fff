# LinearConv on ResNet-20, all of it: the dense network, then half of the parameters of its
# convolutions, which start from the dense ones, then the exported network.
stages = [
    dict(name='dense', config='dense_resnet20_digits.py'),
    dict(name='finetune', config='linear_conv_resnet20_digits_finetune.py'),
]
