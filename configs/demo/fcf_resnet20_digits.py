# FCF on ResNet-20, all of it: the dense network, then which half of its filters can go, then
# training without them, then the exported network.
stages = [
    dict(name='dense', config='dense_resnet20_digits.py'),
    dict(name='factorize', config='fcf_resnet20_digits_factorize.py'),
    dict(name='finetune', config='fcf_resnet20_digits_finetune.py'),
]
