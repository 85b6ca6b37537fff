# FCF on ResNet-110, CIFAR-10, all of it:
# the dense network, stage 1, stage 2, the exported network.
stages = [
    dict(name='dense', config='dense_resnet110_200e_cifar10.py'),
    dict(name='factorize', config='fcf_resnet110_30e_cifar10.py'),
    dict(name='finetune', config='fcf_finetune_resnet110_150e_cifar10.py'),
]
