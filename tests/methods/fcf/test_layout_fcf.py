"""Checkpoints of FCF's authors, of networks restated literally."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mmcompress.core.errors import CompressionError

CIFAR = 'pruning/mmcls/fcf/fcf_resnet20_30e-150e_cifar10.py'
IMAGENET = 'pruning/mmcls/fcf/fcf_resnet34_30e-90e_in1k.py'
SCALE = 'model.mutator_cfg.scale=weight'
SMALL = 'model.architecture.backbone.depth=14'
FINETUNE = 'model.stage=finetune'
NO_CUT = 'model.mutator_cfg.cut_inputs=False'


class Conv(nn.Conv2d):
    """A convolution with ``diag(v) W``; without v where there is none."""

    def __init__(self, *args, v=False, **kwargs):
        super().__init__(*args, bias=False, **kwargs)
        self.v = nn.Parameter(torch.ones(self.out_channels)) if v else None

    def forward(self, x):
        weight = self.weight if self.v is None else self.v.view(-1, 1, 1, 1) * self.weight
        return F.conv2d(x, weight, None, self.stride, self.padding)


class Left(nn.Module):
    """A block of their CIFAR networks."""

    def __init__(self, before, planes, stride, v):
        super().__init__()
        self.left = nn.Sequential(
            Conv(before, planes, 3, stride=stride, padding=1, v=v),
            nn.BatchNorm2d(planes),
            nn.ReLU(),
            Conv(planes, planes, 3, padding=1, v=v),
            nn.BatchNorm2d(planes),
        )
        self.shortcut = nn.Sequential()
        if stride != 1 or before != planes:
            self.shortcut = nn.Sequential(
                nn.Conv2d(before, planes, 1, stride, bias=False), nn.BatchNorm2d(planes)
            )

    def forward(self, x):
        return (self.left(x) + self.shortcut(x)).relu()

    @property
    def convs(self):
        return self.left[0], self.left[3]


class Basic(nn.Module):
    """A block of their ImageNet networks, which are torchvision's."""

    def __init__(self, before, planes, stride, v):
        super().__init__()
        self.conv1 = Conv(before, planes, 3, stride=stride, padding=1, v=v)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = Conv(planes, planes, 3, padding=1, v=v)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = None
        if stride != 1 or before != planes:
            self.downsample = nn.Sequential(
                nn.Conv2d(before, planes, 1, stride, bias=False), nn.BatchNorm2d(planes)
            )

    def forward(self, x):
        out = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        return (out + (x if self.downsample is None else self.downsample(x))).relu()

    @property
    def convs(self):
        return self.conv1, self.conv2


def stages(network, block, widths, blocks, v):
    before = widths[0]
    for index, planes in enumerate(widths):
        layers = []
        for number in range(blocks):
            layers.append(block(before, planes, 2 if index and not number else 1, v))
            before = planes
        setattr(network, f'layer{index + 1}', nn.Sequential(*layers))


class CIFARNet(nn.Module):
    def __init__(self, v=False):
        super().__init__()
        conv = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.conv1 = nn.Sequential(conv, nn.BatchNorm2d(16), nn.ReLU())
        stages(self, Left, (16, 32, 64), 2, v)
        self.fc = nn.Linear(64, 10)

    def forward(self, x):
        return self.fc(self.layer3(self.layer2(self.layer1(self.conv1(x)))).mean((2, 3)))


class ImageNet(nn.Module):
    """ResNet-18, to save time."""

    def __init__(self, v=False):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        stages(self, Basic, (64, 128, 256, 512), 2, v)
        self.fc = nn.Linear(512, 1000)

    def forward(self, x):
        x = F.max_pool2d(self.bn1(self.conv1(x)).relu(), 3, 2, 1)
        return self.fc(self.layer4(self.layer3(self.layer2(self.layer1(x)))).mean((2, 3)))


@torch.no_grad()
def cut(network, rate):
    """What their second stage has: zero filters, and zero weights where these were read."""
    before, channels = [], 0
    for block in [m for m in network.modules() if isinstance(m, (Left, Basic))]:
        first, second = block.convs
        if first.in_channels == channels:
            first.weight[:, before] = 0
        for conv in (first, second):
            n = conv.out_channels
            before = torch.randperm(n)[: n - int(n * (1 - rate))]
            conv.weight[before] = 0
            if conv is first:
                second.weight[:, before] = 0
        channels = second.out_channels
    return network


def old(state):
    """As PyTorch 0.3 wrote it for several GPUs."""
    return {f'module.{k}': v for k, v in state.items() if not k.endswith('num_batches_tracked')}


@pytest.mark.parametrize('config', [CIFAR, 'dense/dense_resnet20_200e_cifar10.py'])
def test_a_pretrained_network(runs, conversion, config):
    network = conversion.randomise(CIFARNet())
    options = [SMALL]
    if 'dense' in config:
        options = ['model.backbone.depth=14', 'model.backbone.shortcut=projection']
    runs.check('fcf', network, runs.config(config, *options), legacy=True)
    if 'dense' not in config:
        saved = torch.load(runs.folder / 'ours.pth', weights_only=True)['state_dict']
        assert not saved['started']


def test_stage_one(runs, conversion):
    network = conversion.randomise(CIFARNet(v=True))
    for module in network.modules():
        if isinstance(module, Conv) and module.v is not None:
            nn.init.uniform_(module.v, -0.1, 1.1)
    content = dict(state_dict=network.state_dict(), epoch=30, best_prec1=torch.tensor(90.0))
    runs.check('fcf', network, runs.config(CIFAR, SMALL, SCALE), content)
    ours = runs.ours()
    assert ours.started
    assert not ours.binary
    assert ours.unfinished()
    # Its stage 2 goes on from here.
    runs.args.cfg_options.update({'model.stage': 'finetune'})
    ours = runs.ours()
    v = network.layer2[0].left[0].v
    kept = ours.architecture.backbone.layer2[0].conv1.v.nonzero().flatten()
    assert kept.tolist() == sorted(v.topk(24).indices.tolist())
    with pytest.raises(CompressionError, match="scale='weight'"):
        runs.run('fcf', runs.save(content), runs.config(CIFAR, SMALL), 'other.pth')


def test_stage_one_with_widths_by_magnitude(runs, conversion):
    network = conversion.randomise(CIFARNet(v=True))
    widths = 'model.mutator_cfg.widths=magnitude'
    result = runs.check('fcf', network, runs.config(CIFAR, SMALL, SCALE, widths))
    assert any('magnitudes' in note for note in result['notes'])
    units = runs.ours().mutator.mutable_units
    assert len({unit.width / unit.num_channels for unit in units}) > 1


@pytest.mark.parametrize('target', ['ours.pth', 'export'])
def test_a_released_file(runs, conversion, target):
    network = conversion.randomise(cut(CIFARNet(), 0.25))
    words = runs.config(CIFAR, SMALL, SCALE, FINETUNE)
    words = [*words, '--compact'] if target == 'export' else words
    content = dict(state_dict=old(network.state_dict()), best_prec1=92.0, train_loss=[0.1])
    result = runs.check('fcf', network, words, content, target=target, legacy=True)
    assert any('336 of 448 filters' in note for note in result['notes'])
    ours = runs.ours(target)
    if target == 'export':
        weights = [w.numel() for n, w in ours.named_parameters() if 'layer2.1.conv' in n]
        assert weights == [24 * 24 * 9, 24 * 24 * 9]
    else:
        assert ours.binary
        assert not ours.unfinished()


def test_a_released_file_of_imagenet(runs, conversion):
    network = conversion.randomise(cut(ImageNet(), 0.25))
    options = ['model.architecture.backbone.depth=18', SCALE, FINETUNE]
    runs.check('fcf', network, runs.config(IMAGENET, *options), old(network.state_dict()), size=64)


def test_what_does_not_fit(runs, conversion):
    network = conversion.randomise(cut(CIFARNet(), 0.5))
    source = runs.save(network.state_dict())
    for options, said in (
        # Half of the filters are left, and the config keeps three of four.
        ([SMALL, SCALE, FINETUNE], 'target_pruning_ratio.* 12 of 16.*8'),
        ([SMALL, FINETUNE], "scale='weight'"),
        (['model.architecture.backbone.depth=20', SCALE], "'layer1.2.left.0.weight' is missing"),
        (['model.architecture.backbone.depth=8', SCALE], "'layer1.1.left.0.weight' has no place"),
        ([SMALL, 'model.mutator_cfg.scope=unit', NO_CUT], "scope='filter'"),
    ):
        with pytest.raises(CompressionError, match=said):
            runs.run('fcf', source, runs.config(CIFAR, *options))
    assert not (runs.folder / 'ours.pth').exists()
    network.layer1[0].left[3].weight.data.normal_()
    with pytest.raises(CompressionError, match='reads filters that are gone'):
        runs.run('fcf', runs.save(network.state_dict()), runs.config(CIFAR, SMALL, SCALE))
