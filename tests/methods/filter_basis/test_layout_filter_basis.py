"""Checkpoints of filter basis' authors, of networks restated literally."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mmcompress.core.errors import CompressionError

CLS, SR = 'pruning/mmcls/filter_basis', 'pruning/mmsr/filter_basis'
RESNET = f'{CLS}/filter_basis_resnet56_400e_cifar10.py'
SRRESNET = f'{SR}/filter_basis_s64-b14_srresnet_x4_300e_div2k.py'
EDSR_8 = f'{SR}/filter_basis_s128-b27_edsr8_x4_300e_div2k.py'
DEPTH = 'model.architecture.backbone.depth=14'
BLOCKS = 'model.architecture.backbone.num_blocks=2'


def basis(number, size, k=3):
    return nn.Parameter(torch.randn(number, size, k, k) / (size * k * k) ** 0.5)


class Basis(nn.Module):
    """Each group of channels through one basis, maps side by side; names as the network says."""

    def __init__(self, weight, bias, name, bias_name, size=None, stride=1):
        super().__init__()
        setattr(self, name, weight)
        setattr(self, bias_name, nn.Parameter(torch.randn(len(weight)) / 10) if bias else None)
        self.names, self.size, self.stride = (name, bias_name), size, stride

    def forward(self, x):
        weight, bias = (getattr(self, name) for name in self.names)
        weight = weight[:, : self.size]
        parts = x.split(weight.shape[1], 1)
        return torch.cat([F.conv2d(p, weight, bias, self.stride, 1) for p in parts], 1)


class Wrapped(nn.Module):
    def __init__(self, *layers):
        super().__init__()
        self.conv = nn.Sequential(*layers)

    def forward(self, x):
        return self.conv(x)


def unit(conv, n):
    return [conv, nn.BatchNorm2d(n), nn.ReLU()]


class VGG(nn.Module):
    def __init__(self, bias, dense=3):
        super().__init__()
        widths = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0)
        layers, c = [], 3
        for i, n in enumerate(widths):
            if not n:
                layers.append(nn.MaxPool2d(2))
            elif i <= dense:
                layers.append(nn.Sequential(*unit(nn.Conv2d(c, n, 3, padding=1, bias=bias), n)))
            else:
                maps = c // 128 * 128
                first = unit(Basis(basis(128, 128), bias, 'weight', 'bias'), maps)
                layers.append(Wrapped(*first, *unit(nn.Conv2d(maps, n, 1, bias=bias), n)))
            c = n or c
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(512, 10)

    def forward(self, x):
        return self.classifier(self.features(x).flatten(1))


class Residual(nn.Module):
    """With bases, or without them a dense block."""

    def __init__(self, first, second, c, n, stride):
        super().__init__()

        def conv(weight, inputs, stride):
            if weight is None:
                return nn.Conv2d(inputs, n, 3, stride, 1, bias=False)
            maps = inputs // weight.shape[1] * len(weight)
            one = Basis(weight, True, 'basis_weight', 'basis_bias', stride=stride)
            return Wrapped(one, nn.Conv2d(maps, n, 1))

        layers = [conv(first, c, stride), nn.BatchNorm2d(n), nn.ReLU()]
        self.body = nn.Sequential(*layers, conv(second, n, 1), nn.BatchNorm2d(n))

    def forward(self, x):
        out = self.body(x)
        if out.shape != x.shape:
            c = x.shape[1] // 2
            x = F.pad(F.avg_pool2d(x, 2), (0, 0, 0, 0, c, c))
        return (out + x).relu()


class ResNet(nn.Module):
    def __init__(self, blocks=2, dense=False):
        super().__init__()
        bases = [None] * 3 if dense else [basis(24, 16), basis(48, 32), basis(84, 64)]
        for i, weight in enumerate(bases if not dense else (), start=1):
            setattr(self, f'basis{i}', weight)
        stages, c, before = [], 16, bases[0]
        for i, n in enumerate((16, 32, 64)):
            layers = []
            for j in range(blocks):
                layers.append(Residual(before, bases[i], c, n, 2 if i and not j else 1))
                c, before = n, bases[i]
            stages.append(nn.Sequential(*layers))
        stem = nn.Sequential(*unit(nn.Conv2d(3, 16, 3, padding=1), 16))
        self.features = nn.Sequential(stem, *stages, nn.AdaptiveAvgPool2d(1))
        self.classifier = nn.Linear(64, 10)

    def forward(self, x):
        return self.classifier(self.features(x).flatten(1))


class Dense(nn.Module):
    def __init__(self, weight, c, growth, k):
        super().__init__()
        if weight is None:
            conv = nn.Conv2d(c, growth, 3, padding=1, bias=False)
            self.body = nn.Sequential(nn.BatchNorm2d(c), nn.ReLU(), conv)
            return
        one = Basis(weight, True, 'basis', 'basis_bias', size=c)
        layers = [nn.BatchNorm2d(c), nn.ReLU(), *unit(one, len(weight))]
        self.body = nn.Sequential(
            Wrapped(*layers, nn.Conv2d(len(weight), growth, k, padding=k // 2))
        )

    def forward(self, x):
        return torch.cat([x, self.body(x)], 1)


class Transition(nn.Module):
    def __init__(self, c, groups):
        super().__init__()
        convs = [nn.Conv2d(c, c // groups, 1, bias=False), nn.Conv2d(c // groups, c, 1, bias=False)]
        self.module = nn.Sequential(nn.BatchNorm2d(c), nn.ReLU(), *convs)

    def forward(self, x):
        return F.avg_pool2d(self.module(x) + x, 2)


class DenseNet(nn.Module):
    """Two layers a block, to save time."""

    def __init__(self, k=3, dense=False):
        super().__init__()
        growth, depth = 12, 2
        c = 2 * growth
        if not dense:
            self.basis = basis(36, c + 3 * depth * growth - growth)
        layers = [nn.Conv2d(3, c, 3, padding=1, bias=False)]
        for i in range(3):
            block = []
            for _ in range(depth):
                block.append(Dense(None if dense else self.basis, c, growth, k))
                c += growth
            layers.append(nn.Sequential(*block))
            if i < 2 and dense:
                conv = nn.Conv2d(c, c, 1, bias=False)
                layers.append(nn.Sequential(nn.BatchNorm2d(c), nn.ReLU(), conv, nn.AvgPool2d(2)))
            elif i < 2:
                layers.append(Transition(c, 6))
        layers += [nn.BatchNorm2d(c), nn.ReLU(), nn.AdaptiveAvgPool2d(1)]
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(c, 10)

    def forward(self, x):
        return self.classifier(self.features(x).flatten(1))


class SRBasis(nn.Module):
    def __init__(self, weight, width):
        super().__init__()
        b, s = weight.shape[:2]
        self.basis_weight = weight
        self.basis_bias = nn.Parameter(torch.randn(b) / 10)
        self.proj_weight = nn.Parameter(torch.randn(width, width // s * b, 1, 1) / b)
        self.proj_bias = nn.Parameter(torch.randn(width) / 10)

    def forward(self, x):
        parts = x.split(self.basis_weight.shape[1], 1)
        maps = [F.conv2d(p, self.basis_weight, self.basis_bias, padding=1) for p in parts]
        return F.conv2d(torch.cat(maps, 1), self.proj_weight, self.proj_bias)


class Body(nn.Module):
    def __init__(self, *layers):
        super().__init__()
        self.body = nn.Sequential(*layers)

    def forward(self, x):
        return x + self.body(x)


def mean_shift(sign):
    """A 1x1 convolution, which training has moved."""
    shift = nn.Conv2d(3, 3, 1)
    shift.weight.data = torch.eye(3).view(3, 3, 1, 1) + torch.randn(3, 3, 1, 1) / 50
    shift.bias.data = sign * 255 * torch.tensor([0.4488, 0.4371, 0.4040]) + torch.randn(3)
    return shift


class EDSR(nn.Module):
    def __init__(self, width=128, size=128, number=27, shared=False, dense=False, steps=2):
        super().__init__()

        def conv(c, n):
            return nn.Conv2d(c, n, 3, padding=1)

        blocks = []
        for _ in range(2):
            one = basis(number, size)
            two = one if shared else basis(number, size)
            pair = [conv(width, width) if dense else SRBasis(w, width) for w in (one, two)]
            blocks.append(Body(pair[0], nn.ReLU(), pair[1]))
        self.head = nn.Sequential(conv(3, width))
        self.body = nn.Sequential(*blocks, conv(width, width))
        up = [layer for _ in range(steps) for layer in (conv(width, 4 * width), nn.PixelShuffle(2))]
        self.tail = nn.Sequential(nn.Sequential(*up), conv(width, 3))
        self.sub_mean, self.add_mean = mean_shift(-1), mean_shift(1)

    def forward(self, x):
        x = self.head(self.sub_mean(x))
        return self.add_mean(self.tail(x + self.body(x)))


class SRResNet(nn.Module):
    """One PReLU, of a slope that training has moved, everywhere but behind the upsampling."""

    def __init__(self, dense=False):
        super().__init__()
        act = nn.PReLU(init=0.1)

        def conv(c, n, k=3):
            return nn.Conv2d(c, n, k, padding=k // 2)

        def combined():
            one = Basis(basis(14, 64), True, 'basis_weight', 'basis_bias')
            return Wrapped(one, nn.BatchNorm2d(14), act, conv(14, 64, 1), nn.BatchNorm2d(64), act)

        blocks = []
        for _ in range(2):
            norms = [nn.BatchNorm2d(64), nn.BatchNorm2d(64)]
            layers = [conv(64, 64), norms[0], act, conv(64, 64), norms[1]]
            blocks.append(Body(*layers) if dense else Body(combined(), combined()))
        self.head = nn.Sequential(conv(3, 64, 9), act)
        self.body = nn.Sequential(*blocks, conv(64, 64), nn.BatchNorm2d(64))
        up = []
        for slope in (0.2, 0.3):
            up += [conv(64, 256), nn.PixelShuffle(2), nn.PReLU(init=slope)]
        self.tail = nn.Sequential(nn.Sequential(*up), conv(64, 3))

    def forward(self, x):
        x = self.head(x)
        return self.tail(x + self.body(x))


@pytest.mark.parametrize('bias', [False, True])
def test_vgg_16_of_the_recipes(runs, conversion, bias):
    name = 'bias_vgg16' if bias else 'vgg16'
    words = runs.config(f'{CLS}/filter_basis_{name}_300e_cifar10.py')
    runs.check('filter_basis', conversion.randomise(VGG(bias)), words)


@pytest.mark.parametrize('target', ['ours.pth', 'export'])
def test_resnet(runs, conversion, target):
    words = runs.config(RESNET, DEPTH)
    words = [*words, '--compact'] if target == 'export' else words
    result = runs.check('filter_basis', conversion.randomise(ResNet()), words, target=target)
    how = {row['key']: row['how'] for row in result['keys']}
    assert how['features.1.0.body.0.conv.0.basis_weight'] == 'renamed'
    assert 'a copy of' in how['features.2.0.body.0.conv.0.basis_weight']
    assert 'a copy of' in how['basis3']


def test_resnet_56_of_the_recipe(runs, conversion):
    network = conversion.randomise(ResNet(9))
    runs.check('filter_basis', network, runs.config(RESNET), size=16)


@pytest.mark.parametrize('kernel', [1, 3])
def test_densenet(runs, conversion, kernel):
    name = 'k1_densenet40' if kernel == 1 else 'densenet40'
    words = runs.config(
        f'{CLS}/filter_basis_{name}_400e_cifar10.py',
        'model.architecture.backbone.depths=[2,2,2]',
        'model.architecture.head.in_channels=96',
    )
    runs.check('filter_basis', conversion.randomise(DenseNet(kernel)), words, size=16)


@pytest.mark.parametrize('shared', [False, True])
def test_edsr(runs, conversion, shared):
    if shared:
        network = EDSR(256, 256, 32, shared=True, steps=1)
        words = runs.config(f'{SR}/filter_basis_s256-b32-shared_edsr_x2_300e_div2k.py', BLOCKS)
    else:
        network, words = EDSR(), runs.config(EDSR_8, BLOCKS)
    if shared:
        words.append('model.architecture.backbone.res_scale=1')
    runs.check('filter_basis', network.eval(), words, size=10)


def test_srresnet(runs, conversion):
    network = conversion.randomise(SRResNet())
    runs.check('filter_basis', network, runs.config(SRRESNET, BLOCKS), size=10)
    assert float(runs.ours().architecture.backbone.act.weight) == pytest.approx(0.1)


DENSE = {
    'dense_stem-bias_resnet56_300e_cifar10': (
        lambda: ResNet(dense=True),
        ['model.backbone.depth=14'],
        32,
    ),
    'dense_densenet40_300e_cifar10': (
        lambda: DenseNet(dense=True),
        ['model.backbone.depths=[2,2,2]', 'model.head.in_channels=96'],
        16,
    ),
    'dense_edsr8_x4_300e_div2k': (
        lambda: EDSR(dense=True),
        ['model.backbone.num_blocks=2'],
        10,
    ),
    'dense_srresnet_x4_300e_div2k': (
        lambda: SRResNet(dense=True),
        ['model.backbone.num_blocks=2'],
        10,
    ),
}


@pytest.mark.parametrize('name', DENSE)
def test_dense_networks(runs, conversion, name):
    make, options, size = DENSE[name]
    words = runs.config(f'dense/{name}.py', *options)
    runs.check('filter_basis', conversion.randomise(make()), words, size=size)


def test_what_does_not_fit(runs, conversion):
    state = ResNet().state_dict()
    for change, options, said in (
        ({}, [], "'features.1.2.body.1.weight' is missing"),
        ({'features.1.2.body.1.weight': torch.ones(16)}, [DEPTH], 'features.1.2.* has no place'),
        ({'features.2.1.body.0.conv.0.basis_weight': torch.ones(48, 32, 3, 3)}, [DEPTH], 'equal'),
        ({'features.0.0.weight': torch.ones(16, 3, 1, 1)}, [DEPTH], r'\(16, 3, 1, 1\).*3, 3, 3'),
    ):
        source = runs.save({**state, **change})
        with pytest.raises(CompressionError, match=said):
            runs.run('filter_basis', source, runs.config(RESNET, *options))
    source = runs.save(EDSR().state_dict())
    no_mean = ['model.architecture.backbone.mean=None', BLOCKS]
    with pytest.raises(CompressionError, match='backbone.mean'):
        runs.run('filter_basis', source, runs.config(EDSR_8, *no_mean))
    assert not (runs.folder / 'ours.pth').exists()
