# FCF on ResNet-32, CIFAR-10, all of it:
# the dense network, stage 1, stage 2, the exported network.
stages = [
    dict(name='dense', config='dense_resnet32_200e_cifar10.py'),
    dict(name='factorize', config='fcf_resnet32_30e_cifar10.py'),
    dict(name='finetune', config='fcf_finetune_resnet32_150e_cifar10.py'),
]
