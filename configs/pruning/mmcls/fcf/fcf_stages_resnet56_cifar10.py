# FCF on ResNet-56, CIFAR-10, all of it:
# the dense network, stage 1, stage 2, the exported network.
stages = [
    dict(name='dense', config='dense_resnet56_200e_cifar10.py'),
    dict(name='factorize', config='fcf_resnet56_30e_cifar10.py'),
    dict(name='finetune', config='fcf_finetune_resnet56_150e_cifar10.py'),
]
