# FCF on ResNet-20, CIFAR-10, all of it:
# the dense network, stage 1, stage 2, the exported network.
stages = [
    dict(name='dense', config='dense_resnet20_200e_cifar10.py'),
    dict(name='factorize', config='fcf_resnet20_30e_cifar10.py'),
    dict(name='finetune', config='fcf_finetune_resnet20_150e_cifar10.py'),
]
