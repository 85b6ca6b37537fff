# Pruning by the L1 norm, ResNet-20, all of it: the dense network, then training with half of its
# channels, then the exported network.
stages = [
    dict(name='dense', config='dense_resnet20_digits.py'),
    dict(name='finetune', config='magnitude_resnet20_digits_finetune.py'),
]
