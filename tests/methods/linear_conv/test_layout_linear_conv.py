"""Checkpoints of LinearConv's authors, of networks restated literally."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mmcompress.core.errors import CompressionError

FOLDER = 'pruning/mmcls/linear_conv'
BASE = f'{FOLDER}/linear_conv_linear_base_250e_cifar10.py'
ARGS = 'model.mutator_cfg.filter_unit_cfg.default_args'
ACROSS = f'{ARGS}.across_groups=True'


class Combined(nn.Module):
    """``[P; A P]``: half of the filters, and combinations of them across groups."""

    def __init__(self, c, n, k, stride=1, padding=0, groups=1, bias=True, kind='linear', rank=0.5):
        super().__init__()
        p = n // 2
        self.stride, self.padding, self.groups = stride, padding, groups
        self.conv_weights = nn.Parameter(torch.randn(p, c // groups, k, k) / (c * k * k) ** 0.5)
        if kind == 'rank':
            r = int(p * rank)
            self.column_weights = nn.Parameter(torch.randn(n - p, r) / r**0.5)
            self.row_weights = nn.Parameter(torch.randn(r, p) / p**0.5)
        else:
            self.linear_weights = nn.Parameter(torch.randn(n - p, p) / p**0.5)
        if kind in ('masked', 'sparse'):
            mask = self.linear_weights.abs() > (0.3 / p**0.5 if kind == 'sparse' else -1)
            self.mask = nn.Parameter(mask.float(), requires_grad=False)
        self.bias = nn.Parameter(torch.randn(n) / 10) if bias else None

    def forward(self, x):
        if hasattr(self, 'row_weights'):
            matrix = self.column_weights @ self.row_weights
        else:
            matrix = self.linear_weights * getattr(self, 'mask', 1)
        primary = self.conv_weights
        others = (matrix @ primary.flatten(1)).view(-1, *primary.shape[1:])
        weight = torch.cat([primary, others])
        return F.conv2d(x, weight, self.bias, self.stride, self.padding, groups=self.groups)


class Base(nn.Module):
    def __init__(self, plan=((32,), (64,), (128,), (256,)), features=1024, kind='linear'):
        super().__init__()
        stages, c = [], 3
        for widths in plan:
            layers = []
            for n in widths:
                conv = Combined(c, n, 3, padding=1, kind=kind)
                layers += [conv, nn.BatchNorm2d(n), nn.ReLU()]
                c = n
            stages.append(nn.Sequential(*layers, nn.MaxPool2d(2)))
        self.feat = nn.Sequential(*stages)
        self.fc = nn.Linear(features, 10)

    def forward(self, x):
        return self.fc(self.feat(x).flatten(1))


class AllConv(nn.Module):
    """Without dropout, which is the identity in evaluation here."""

    def __init__(self):
        super().__init__()
        widths, strides = (96, 96, 96, 192, 192, 192, 192), (1, 1, 2, 1, 1, 2, 1)
        c = 3
        for i, (n, stride) in enumerate(zip(widths, strides, strict=True), start=1):
            setattr(self, f'conv{i}', Combined(c, n, 3, stride, 1))
            c = n
        self.conv8 = Combined(c, 192, 1, padding=1)
        self.class_conv = nn.Conv2d(192, 10, 1)

    def forward(self, x):
        for i in range(1, 9):
            x = getattr(self, f'conv{i}')(x).relu()
        return self.class_conv(x).relu().mean((2, 3))


class Block(nn.Module):
    def __init__(self, c, n, stride):
        super().__init__()
        self.conv1 = Combined(c, n, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(n)
        self.conv2 = Combined(n, n, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(n)
        self.shortcut = nn.Sequential()
        if stride != 1 or c != n:
            self.shortcut = nn.Sequential(Combined(c, n, 1, stride, bias=False), nn.BatchNorm2d(n))

    def forward(self, x):
        out = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        return (out + self.shortcut(x)).relu()


class ResNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = Combined(3, 64, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        c = 64
        for i, n in enumerate((64, 128, 256, 512), start=1):
            blocks = [Block(c, n, 1 + (i > 1)), Block(n, n, 1)]
            setattr(self, f'layer{i}', nn.Sequential(*blocks))
            c = n
        self.linear = nn.Linear(512, 10)

    def forward(self, x):
        x = self.bn1(self.conv1(x)).relu()
        return self.linear(self.layer4(self.layer3(self.layer2(self.layer1(x)))).mean((2, 3)))


class Grouped(nn.Module):
    def __init__(self, c, width, groups, stride):
        super().__init__()
        n = 2 * width
        self.conv1 = Combined(c, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = Combined(width, width, 3, stride, 1, groups, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = Combined(width, n, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(n)
        self.shortcut = nn.Sequential()
        if stride != 1 or c != n:
            self.shortcut = nn.Sequential(Combined(c, n, 1, stride, bias=False), nn.BatchNorm2d(n))

    def forward(self, x):
        out = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu())).relu()
        return (self.bn3(self.conv3(out)) + self.shortcut(x)).relu()


class ResNeXt(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        c = 64
        for i, width in enumerate((128, 256, 512), start=1):
            blocks = []
            for j in range(3):
                blocks.append(Grouped(c, width, 2, 2 if i > 1 and not j else 1))
                c = 2 * width
            setattr(self, f'layer{i}', nn.Sequential(*blocks))
        self.linear = nn.Linear(1024, 10)

    def forward(self, x):
        x = self.bn1(self.conv1(x)).relu()
        return self.linear(self.layer3(self.layer2(self.layer1(x))).mean((2, 3)))


class Inverted(nn.Module):
    def __init__(self, c, n, expansion, stride):
        super().__init__()
        m = expansion * c
        self.stride = stride
        self.conv1 = Combined(c, m, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(m)
        self.conv2 = Combined(m, m, 3, stride, 1, m, bias=False)
        self.bn2 = nn.BatchNorm2d(m)
        self.conv3 = Combined(m, n, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(n)
        self.shortcut = nn.Sequential()
        if stride == 1 and c != n:
            self.shortcut = nn.Sequential(Combined(c, n, 1, bias=False), nn.BatchNorm2d(n))

    def forward(self, x):
        out = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu())).relu()
        out = self.bn3(self.conv3(out))
        return out + self.shortcut(x) if self.stride == 1 else out


class MobileNet(nn.Module):
    def __init__(self):
        super().__init__()
        plan = ((1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2))
        plan = (*plan, (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
        self.bn1 = nn.BatchNorm2d(32)
        blocks, c = [], 32
        for expansion, n, count, stride in plan:
            for j in range(count):
                blocks.append(Inverted(c, n, expansion, stride if not j else 1))
                c = n
        self.layers = nn.Sequential(*blocks)
        self.bn2 = nn.BatchNorm2d(1280)
        self.linear = nn.Linear(1280, 10)
        self.conv1 = Combined(3, 32, 3, padding=1, bias=False)
        self.conv2 = Combined(320, 1280, 1, bias=False)

    def forward(self, x):
        x = self.layers(self.bn1(self.conv1(x)).relu())
        return self.linear(self.bn2(self.conv2(x)).relu().mean((2, 3)))


VARIANTS = {
    'linear': ('linear', []),
    'masked': ('linear', []),
    'sparse': ('sparse', [f'{ARGS}.variant=sparse', f'{ARGS}.target_sparsity=0.25']),
    'rank': ('rankratio', [f'{ARGS}.variant=rankratio', f'{ARGS}.rank_ratio=0.5']),
}


@pytest.mark.parametrize('kind', VARIANTS)
def test_base(runs, conversion, kind):
    network = conversion.randomise(Base(kind=kind))
    content = dict(epoch=240, model_state_dict=network.state_dict(), opt={})
    result = runs.check('linear_conv', network, runs.config(BASE, *VARIANTS[kind][1]), content)
    if kind == 'sparse':
        # The next look at the mask masks the same entries.
        op = runs.ours().architecture.backbone.stage2.conv1
        assert not op.mask.all()
        assert torch.equal(op.combination.abs() > op.threshold, op.mask)
        assert any('threshold' in note for note in result['notes'])


def test_its_static_form(runs, conversion):
    network = conversion.randomise(Base())
    words = [*runs.config(BASE), '--compact']
    result = runs.check('linear_conv', network, words, target='export')
    assert result['export']['factored'] == 4


NETWORKS = {
    'vgg11': (lambda: Base(((64,), (128,), (256, 256), (512, 512), (512, 512)), 512), []),
    'resnet18': (ResNet, []),
    'all-conv': (AllConv, ['model.architecture.backbone.conv8_padding=1']),
    'resnext29-2x64d': (ResNeXt, [ACROSS]),
    'mobilenet-v2': (MobileNet, [ACROSS]),
}


@pytest.mark.parametrize('name', NETWORKS)
def test_networks_of_the_recipes(runs, conversion, name):
    make, options = NETWORKS[name]
    epochs = 350 if name == 'all-conv' else 250
    config = f'{FOLDER}/linear_conv_linear_{name}_{epochs}e_cifar10.py'
    size = 16 if name.startswith('res') else 32
    network = conversion.randomise(make())
    runs.check('linear_conv', network, runs.config(config, *options), size=size)


def test_what_does_not_fit(runs, conversion):
    for kind, options, said in (
        ('sparse', [], "sparse combinations in 'feat.0.0'.*variant 'linear'"),
        ('rank', [], "'feat.0.0.linear_weights' is missing"),
        ('linear', ['model.architecture.backbone.widths=[32,64,128,128]'], r'\(128,'),
    ):
        source = runs.save(Base(kind=kind).state_dict())
        with pytest.raises(CompressionError, match=said):
            runs.run('linear_conv', source, runs.config(BASE, *options))
    config = f'{FOLDER}/linear_conv_linear_resnext29-2x64d_250e_cifar10.py'
    with pytest.raises(CompressionError, match='across_groups=True'):
        runs.run('linear_conv', runs.save(ResNeXt().state_dict()), runs.config(config))
