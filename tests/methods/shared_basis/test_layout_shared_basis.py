"""Checkpoints of deeply shared bases' authors, of networks restated literally."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mmcompress.core.errors import CompressionError

FOLDER = 'pruning/mmcls/shared_basis'
DEPTH = 'model.architecture.backbone.depth=20'
CIFAR10 = f'{FOLDER}/shared_basis_double-s16u1_resnet32_300e_cifar10.py'


def conv(c, n, k=3, stride=1, groups=1):
    return nn.Conv2d(c, n, k, stride, padding=k // 2, groups=groups, bias=False)


def shortcut(c, n, stride):
    if stride == 1 and c == n:
        return nn.Sequential()
    return nn.Sequential(conv(c, n, 1, stride), nn.BatchNorm2d(n))


class Plain(nn.Module):
    def __init__(self, c, n, stride, projection):
        super().__init__()
        self.conv1, self.bn1 = conv(c, n, 3, stride), nn.BatchNorm2d(n)
        self.conv2, self.bn2 = conv(n, n), nn.BatchNorm2d(n)
        self.shortcut = shortcut(c, n, stride) if projection else nn.Sequential()

    def forward(self, x):
        out = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        x = self.shortcut(x)
        if x.shape != out.shape:
            side = (out.shape[1] - x.shape[1]) // 2
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, side, side))
        return (out + x).relu()


class Based(nn.Module):
    """Own maps first, shared ones behind; either kind may be missing."""

    def __init__(self, n, unique, shared, names):
        super().__init__()
        self.shared = shared
        for name, layer in zip(names, shared, strict=False):
            setattr(self, name, layer)
        for i in (1, 2):
            rank = unique + (len(self.of(i).weight) if shared else 0)
            if unique:
                setattr(self, f'basis_conv{i}', conv(n, unique))
            setattr(self, f'basis_bn{i}', nn.BatchNorm2d(rank))
            setattr(self, f'coeff_conv{i}', conv(rank, n, 1))
            setattr(self, f'bn{i}', nn.BatchNorm2d(n))

    def of(self, i):
        return self.shared[min(i, len(self.shared)) - 1]

    def half(self, x, i):
        maps = []
        if hasattr(self, f'basis_conv{i}'):
            maps.append(getattr(self, f'basis_conv{i}')(x))
        if self.shared:
            maps.append(self.of(i)(x))
        x = getattr(self, f'basis_bn{i}')(torch.cat(maps, 1))
        return getattr(self, f'bn{i}')(getattr(self, f'coeff_conv{i}')(x))

    def forward(self, x):
        return (self.half(self.half(x, 1).relu(), 2) + x).relu()


class ResNet(nn.Module):
    """``kind``: how many bases a stage has."""

    def __init__(self, widths, s, u, kind, classes, blocks=3):
        super().__init__()
        first = widths[0]
        projection = first > 16
        self.conv1 = conv(3, first)
        self.bn1 = nn.BatchNorm2d(first)
        c = first
        for i, n in enumerate(widths, start=1):
            bases = [conv(n, s * 2 ** (i - 1)) for _ in range(kind)]
            names = ['shared_basis'] if kind == 1 else ['shared_basis_1', 'shared_basis_2']
            for number, basis in enumerate(bases, start=1):
                name = f'shared_basis_{i}' if kind == 1 else f'shared_basis_{i}_{number}'
                setattr(self, name, basis)
            layers = [Plain(c, n, 1 + (i > 1), projection)]
            for _ in range(blocks - 1):
                layers.append(Based(n, u * 2 ** (i - 1), bases, names))
            setattr(self, f'layer{i}', nn.Sequential(*layers))
            c = n
        self.fc = nn.Linear(c, classes)
        self.depth = len(widths)

    def forward(self, x):
        x = self.bn1(self.conv1(x)).relu()
        for i in range(1, self.depth + 1):
            x = getattr(self, f'layer{i}')(x)
        return self.fc(x.mean((2, 3)))


class Bottleneck(nn.Module):
    """The second and third convolution may be those of all blocks."""

    def __init__(self, c, n, stride=1, shared=(), names=()):
        super().__init__()
        self.conv1, self.bn1 = conv(c, n, 1), nn.BatchNorm2d(n)
        self.shared = shared
        for name, layer in zip(names, shared, strict=True):
            setattr(self, name, layer)
        if not shared:
            self.conv2 = conv(n, n, 3, stride)
        self.bn2 = nn.BatchNorm2d(n)
        if len(shared) < 2:
            self.conv3 = conv(n, 4 * n, 1)
        self.bn3 = nn.BatchNorm2d(4 * n)
        self.shortcut = shortcut(c, 4 * n, stride)

    def forward(self, x):
        out = self.bn1(self.conv1(x)).relu()
        out = self.bn2((self.shared[0] if self.shared else self.conv2)(out)).relu()
        out = self.bn3((self.shared[1] if len(self.shared) > 1 else self.conv3)(out))
        return (out + self.shortcut(x)).relu()


class ResNet50(nn.Module):
    """Shared++."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        c = 64
        for i, (n, blocks) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3)), start=1):
            shared = [conv(n, n), conv(n, 4 * n, 1)]
            names = ['shared_basis_1', 'shared_basis_2']
            for number, layer in enumerate(shared, start=1):
                setattr(self, f'shared_basis_{i}_{number}', layer)
            layers = [Bottleneck(c, n, 1 + (i > 1))]
            layers += [Bottleneck(4 * n, n, 1, shared, names) for _ in range(blocks - 1)]
            setattr(self, f'layer{i}', nn.Sequential(*layers))
            c = 4 * n
        self.fc = nn.Linear(2048, 1000)

    def forward(self, x):
        x = F.max_pool2d(self.bn1(self.conv1(x)).relu(), 3, 2, 1)
        return self.fc(self.layer4(self.layer3(self.layer2(self.layer1(x)))).mean((2, 3)))


class First(nn.Module):
    """The first block of a ResNeXt stage, without names."""

    def __init__(self, c, n, stride):
        super().__init__()
        layers = [conv(c, n, 1), nn.BatchNorm2d(n), nn.ReLU()]
        layers += [conv(n, n, 3, stride, 32), nn.BatchNorm2d(n), nn.ReLU()]
        self.residual_function = nn.Sequential(*layers, conv(n, 2 * n, 1), nn.BatchNorm2d(2 * n))
        self.shortcut = shortcut(c, 2 * n, stride)

    def forward(self, x):
        return (self.residual_function(x) + self.shortcut(x)).relu()


class Next(nn.Module):
    def __init__(self, n, u, groups, shared):
        super().__init__()
        self.conv1, self.bn1 = conv(2 * n, n, 1), nn.BatchNorm2d(n)
        self.basis_conv2, self.shared_basis = conv(n, u, groups=groups), shared
        rank = u + len(shared.weight)
        self.bn2 = nn.BatchNorm2d(rank)
        self.conv3, self.bn3 = conv(rank, 2 * n, 1), nn.BatchNorm2d(2 * n)

    def forward(self, x):
        out = self.bn1(self.conv1(x)).relu()
        maps = torch.cat([self.basis_conv2(out), self.shared_basis(out)], 1)
        return (self.bn3(self.conv3(self.bn2(maps).relu())) + x).relu()


class ResNeXt(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = conv(3, 64), nn.BatchNorm2d(64)
        c = 64
        for i, blocks in enumerate((3, 4, 6, 3)):
            n, factor = 128 * 2**i, 2**i
            shared = conv(n, 64 * factor, groups=16)
            setattr(self, f'shared_basis_{i + 1}', shared)
            layers = [First(c, n, 1 + (i > 0))]
            layers += [Next(n, 4 * factor, factor, shared) for _ in range(blocks - 1)]
            setattr(self, f'layer{i + 1}', nn.Sequential(*layers))
            c = 2 * n
        self.linear = nn.Linear(2048, 100)

    def forward(self, x):
        x = self.bn1(self.conv1(x)).relu()
        return self.linear(self.layer4(self.layer3(self.layer2(self.layer1(x)))).mean((2, 3)))


class DenseLayer(nn.Module):
    def __init__(self, c, shared):
        super().__init__()
        self.shared_basis = shared
        self.bn0, self.conv1, self.bn1 = nn.BatchNorm2d(c), conv(c, 128, 1), nn.BatchNorm2d(128)
        self.basis_conv2, self.basis_bn2 = conv(128, 4), nn.BatchNorm2d(68)
        self.coeff_conv2 = conv(68, 32, 1)

    def forward(self, x):
        out = self.bn1(self.conv1(self.bn0(x).relu())).relu()
        maps = torch.cat([self.basis_conv2(out), self.shared_basis(out)], 1)
        return torch.cat([x, self.coeff_conv2(self.basis_bn2(maps))], 1)


class DenseTransition(nn.Module):
    """No activation between norm and convolution."""

    def __init__(self, c):
        super().__init__()
        self.down_sample = nn.Sequential(nn.BatchNorm2d(c), conv(c, c // 2, 1), nn.AvgPool2d(2))

    def forward(self, x):
        return self.down_sample(x)


class DenseNet(nn.Module):
    """Three layers a block; the last block shares the third basis, and the fourth is unused."""

    def __init__(self):
        super().__init__()
        c = 64
        self.conv1 = conv(3, c)
        self.features = nn.Sequential()
        for i in range(1, 5):
            setattr(self, f'shared_basis_{i}', conv(128, 64))
        for i in range(4):
            shared = getattr(self, f'shared_basis_{min(i, 2) + 1}')
            block = nn.Sequential()
            for j in range(3):
                block.add_module(f'bottle_neck_layer_{j}', DenseLayer(c, shared))
                c += 32
            self.features.add_module(f'dense_block_layer_{i}', block)
            if i < 3:
                self.features.add_module(f'transition_layer_{i}', DenseTransition(c))
                c //= 2
        self.features.add_module('bn', nn.BatchNorm2d(c))
        self.features.add_module('relu', nn.ReLU())
        self.linear = nn.Linear(c, 100)

    def forward(self, x):
        return self.linear(self.features(self.conv1(x)).mean((2, 3)))


class Inverted(nn.Module):
    def __init__(self, c, n, expansion, stride, shared=(), projection=True):
        super().__init__()
        m = expansion * c
        self.add, self.shared = stride == 1 and (projection or c == n), shared
        for i, layer in enumerate(shared, start=1):
            setattr(self, f'shared_basis{i}', layer)
        if not shared:
            self.conv1 = conv(c, m, 1)
        self.bn1 = nn.BatchNorm2d(m)
        self.conv2, self.bn2 = conv(m, m, 3, stride, m), nn.BatchNorm2d(m)
        if len(shared) < 2:
            self.conv3 = conv(m, n, 1)
        self.bn3 = nn.BatchNorm2d(n)
        self.shortcut = nn.Sequential()
        if projection and stride == 1:
            self.shortcut = shortcut(c, n, 1)

    def forward(self, x):
        out = self.bn1((self.shared[0] if self.shared else self.conv1)(x)).relu()
        out = self.bn2(self.conv2(out)).relu()
        out = self.bn3((self.shared[1] if len(self.shared) > 1 else self.conv3)(out))
        return out + self.shortcut(x) if self.add else out


class MobileNet(nn.Module):
    """For CIFAR-100 with one shared convolution, for ImageNet with two."""

    def __init__(self, large):
        super().__init__()
        stem = nn.Conv2d(3, 32, 3, 2, 1) if large else nn.Conv2d(3, 32, 1, 1, 1)
        self.pre = nn.Sequential(stem, nn.BatchNorm2d(32), nn.ReLU6())
        strides = (1, 2, 2, 2, 1, 2, 1) if large else (1, 2, 2, 2, 1, 1, 1)
        plan = ((16, 1), (24, 2), (32, 3), (64, 4), (96, 3), (160, 3), (320, 1))
        c = 32
        for i, ((n, blocks), stride) in enumerate(zip(plan, strides, strict=True), start=1):
            shared = ()
            if 3 <= i <= 6:
                shared = [conv(n, 6 * n, 1), conv(6 * n, n, 1)][: 1 + large]
                for j, layer in enumerate(shared, start=1):
                    name = f'shared_basis_{i - 2}_{j}' if large else f'shared_basis_{i - 2}'
                    setattr(self, name, layer)
            layers = [Inverted(c, n, 6 if i > 1 else 1, stride, (), not large)]
            for _ in range(blocks - 1):
                layers.append(Inverted(n, n, 6, 1, shared, not large))
            setattr(self, f'stage{i}', layers[0] if i in (1, 7) else nn.Sequential(*layers))
            c = n
        self.conv1 = nn.Sequential(nn.Conv2d(320, 1280, 1), nn.BatchNorm2d(1280), nn.ReLU6())
        if large:
            self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, 1000))
        else:
            self.conv2 = nn.Conv2d(1280, 100, 1)

    def forward(self, x):
        x = self.pre(x)
        for i in range(1, 8):
            x = getattr(self, f'stage{i}')(x)
        x = self.conv1(x).mean((2, 3), keepdim=True)
        if hasattr(self, 'classifier'):
            return self.classifier(x.flatten(1))
        return self.conv2(x).flatten(1)


def saved(network):
    """What their programs save; for ImageNet the network was wrapped."""
    return dict(
        net_state_dict={f'module.{k}': v for k, v in network.state_dict().items()},
        optimizer_state_dict={},
        acc=torch.tensor(93.0),
        epoch=299,
    )


SMALL, LARGE = (16, 32, 64), (64, 128, 256, 512)
R18 = 'model.architecture.backbone.depth=18'
CASES = {
    'double-s16u1_resnet32_300e_cifar10': (lambda: ResNet(SMALL, 16, 1, 2, 10), [DEPTH], 32),
    's8u1_resnet32_300e_cifar10': (lambda: ResNet(SMALL, 8, 1, 1, 10), [DEPTH], 32),
    'shared-only-s16u0_resnet32_300e_cifar10': (
        lambda: ResNet(SMALL, 16, 0, 2, 10),
        [DEPTH],
        32,
    ),
    'non-shared-s0u16_resnet32_300e_cifar10': (
        lambda: ResNet(SMALL, 0, 16, 0, 10),
        [DEPTH],
        32,
    ),
    's8u1_resnet34_300e_cifar100': (lambda: ResNet(LARGE, 8, 1, 1, 100, blocks=2), [R18], 16),
    'plusplus_resnet50_150e_in1k': (ResNet50, [], 64),
    's16u1_resnext50-32x4d_300e_cifar100': (ResNeXt, [], 16),
    's64u4_densenet121_300e_cifar100': (
        DenseNet,
        [
            'model.architecture.backbone.depths=[3,3,3,3]',
            'model.architecture.head.in_channels=188',
        ],
        16,
    ),
    'mobilenet-v2_300e_cifar100': (lambda: MobileNet(False), [], 32),
    'plusplus_mobilenet-v2_300e_in1k': (lambda: MobileNet(True), [], 64),
}


@pytest.mark.parametrize('name', CASES)
def test_networks_of_the_recipes(runs, conversion, name):
    make, options, size = CASES[name]
    network = conversion.randomise(make())
    content = saved(network) if 'in1k' in name else dict(net_state_dict=network.state_dict())
    words = runs.config(f'{FOLDER}/shared_basis_{name}.py', *options)
    result = runs.check('shared_basis', network, words, content, size=size)
    left = {row['key']: row['how'] for row in result['keys'] if not row['becomes']}
    if 'densenet' in name:
        assert left.pop('shared_basis_4.weight') == 'left out: no layer uses it'
    assert all('a copy of' in how for how in left.values())


def test_resnet_56_of_the_recipe(runs, conversion):
    network = conversion.randomise(ResNet(SMALL, 16, 1, 2, 10, blocks=9))
    words = runs.config(f'{FOLDER}/shared_basis_double-s16u1_resnet56_300e_cifar10.py')
    result = runs.check('shared_basis', network, words, size=16)
    how = {row['key']: row['how'] for row in result['keys']}
    assert how['layer1.1.basis_bn1.weight'] == 'channels in our order'
    assert how['layer1.1.coeff_conv2.weight'] == 'maps in our order'


def test_its_static_form(runs, conversion):
    network = conversion.randomise(ResNet(SMALL, 16, 1, 2, 10))
    words = [*runs.config(CIFAR10, DEPTH), '--compact']
    result = runs.check('shared_basis', network, words, target='export')
    assert result['form'] == 'compact'


def test_what_does_not_fit(runs, conversion):
    network = ResNet(SMALL, 16, 1, 2, 10)
    state = network.state_dict()
    less = {k: v for k, v in state.items() if k != 'layer2.1.coeff_conv2.weight'}
    changed = [f'layer3.{i}.shared_basis_2.weight' for i in (1, 2)]
    moved = {**state, **dict.fromkeys(changed, torch.zeros(64, 64, 3, 3))}
    for content, options, said in (
        (state, [], "'layer1.3.bn1.weight' is missing"),
        (less, [DEPTH], "'layer2.1.coeff_conv2.weight' is missing.*1 missing"),
        (ResNet(SMALL, 8, 1, 2, 10).state_dict(), [DEPTH], r'\(8, 16, 3, 3\).*\(16, 16, 3, 3\)'),
    ):
        with pytest.raises(CompressionError, match=said):
            runs.run('shared_basis', runs.save(content), runs.config(CIFAR10, *options))
    # Copies on top of the file are not what layers run with.
    runs.run('shared_basis', runs.save(moved), runs.config(CIFAR10, DEPTH))
