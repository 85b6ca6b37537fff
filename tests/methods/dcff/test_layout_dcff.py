"""Checkpoints of DCFF's authors, of networks restated literally."""

import json

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mmcompress.core.errors import CompressionError

RESNET = 'pruning/mmcls/dcff/dcff_resnet56_300e_cifar10.py'
SMALL = ['model.architecture.backbone.depth=8', 'model.target_pruning_ratio=0.5']


class Fuse(nn.Conv2d):
    """``P W`` of n filters, rows in any order; buffers as in their files."""

    def __init__(self, inputs, n, kernel, m, **kwargs):
        super().__init__(inputs, n, kernel, **kwargs)
        rows = torch.randperm(n)[:m]
        distance = torch.cdist(self.weight.detach().flatten(1), self.weight.detach().flatten(1))
        self.register_buffer('layeri_softmaxP', torch.softmax(-8 * distance, 1)[rows])
        self.register_buffer('fused_weight', torch.zeros(m, inputs, kernel, kernel))
        if self.bias is not None:
            self.register_buffer('fused_bias', torch.zeros(m))

    def forward(self, x):
        p = self.layeri_softmaxP
        weight = (p @ self.weight.flatten(1)).view(-1, *self.weight.shape[1:])
        self.fused_weight = weight.detach()
        if self.bias is not None:
            self.fused_bias = (p @ self.bias).detach()
        bias = None if self.bias is None else p @ self.bias
        return F.conv2d(x, weight, bias, self.stride, self.padding)


class Block(nn.Module):
    def __init__(self, before, planes, inner, after, stride):
        super().__init__()
        self.conv1 = Fuse(before, planes, 3, inner, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = Fuse(inner, planes, 3, after, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.pad, self.stride = after - before, stride

    def forward(self, x):
        out = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        x = x[:, :, :: self.stride, :: self.stride]
        return (out + F.pad(x, (0, 0, 0, 0, self.pad // 2, self.pad - self.pad // 2))).relu()


class ResNet(nn.Module):
    def __init__(self, blocks, inner, streams):
        super().__init__()
        self.conv1 = Fuse(3, 16, 3, streams[0], padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(streams[0])
        before = streams[0]
        for stage in range(3):
            layers = []
            for index in range(blocks):
                stride = 2 if stage and not index else 1
                args = (before, 16 * 2**stage, inner[stage], streams[stage], stride)
                layers.append(Block(*args))
                before = streams[stage]
            setattr(self, f'layer{stage + 1}', nn.Sequential(*layers))
        self.fc = nn.Linear(before, 10)

    def forward(self, x):
        x = self.layer3(self.layer2(self.layer1(self.bn1(self.conv1(x)).relu())))
        return self.fc(x.mean((2, 3)))


class VGG(nn.Module):
    def __init__(self, plan):
        super().__init__()
        layers, before = [], 3
        for stage in plan:
            for n, m in stage:
                layers += [Fuse(before, n, 3, m, padding=1), nn.BatchNorm2d(m), nn.ReLU()]
                before = m
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(before, 10)

    def forward(self, x):
        return self.classifier(self.features(x).flatten(1))


class Inception(nn.Module):
    def __init__(self, before, one, three, five, pool, m3, m5, m55):
        super().__init__()

        def chain(*convs):
            layers = []
            for inputs, n, kernel, m in convs:
                conv = Fuse(inputs, n, kernel, m, padding=kernel // 2)
                layers += [conv, nn.BatchNorm2d(m), nn.ReLU()]
            return layers

        self.b1 = nn.Sequential(*chain((before, one, 1, one)))
        self.b2 = nn.Sequential(*chain((before, three[0], 1, m3), (m3, three[1], 3, three[1])))
        last = (m55, five[1], 3, five[1])
        self.b3 = nn.Sequential(*chain((before, five[0], 1, m5), (m5, five[1], 3, m55), last))
        self.b4 = nn.Sequential(nn.MaxPool2d(3, 1, 1), *chain((before, pool, 1, pool)))

    def forward(self, x):
        return torch.cat([self.b1(x), self.b2(x), self.b3(x), self.b4(x)], 1)


class GoogLeNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.pre_layers = nn.Sequential(
            Fuse(3, 192, 3, 192, padding=1), nn.BatchNorm2d(192), nn.ReLU()
        )
        plan = dict(
            a3=(64, (96, 128), (16, 32), 32, 0.8),
            b3=(128, (128, 192), (32, 96), 64, 0.9),
            a4=(192, (96, 208), (16, 48), 64, 0.9),
            b4=(160, (112, 224), (24, 64), 64, 0.9),
            c4=(128, (128, 256), (24, 64), 64, 0.8),
            d4=(112, (144, 288), (32, 64), 64, 0.8),
            e4=(256, (160, 320), (32, 128), 128, 0.8),
            a5=(256, (160, 320), (32, 128), 128, 0.9),
            b5=(384, (192, 384), (48, 128), 128, 0.9),
        )
        before = 192
        for name, (one, three, five, pool, rate) in plan.items():
            # Rounded down in floating point: 31 and 15 of 160 in e4 and a5.
            kept = [int(n * (1 - rate)) for n in (three[0], five[0], five[1])]
            setattr(self, name, Inception(before, one, three, five, pool, *kept))
            before = one + three[1] + five[1] + pool
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.linear = nn.Linear(1024, 10)

    def forward(self, x):
        x = self.maxpool(self.b3(self.a3(self.pre_layers(x))))
        x = self.maxpool(self.e4(self.d4(self.c4(self.b4(self.a4(x))))))
        return self.linear(self.b5(self.a5(x)).mean((2, 3)))


def compact(network):
    """What their export saves: fused weights under the names of the convolutions."""
    fused = {n: m for n, m in network.named_modules() if isinstance(m, Fuse)}
    network.eval()(torch.randn(1, 3, 32, 32))
    state = {}
    for key, value in network.state_dict().items():
        layer, _, leaf = key.rpartition('.')
        if layer not in fused:
            state[key] = value
        elif leaf in ('weight', 'bias'):
            state[key] = getattr(fused[layer], f'fused_{leaf}')
    return state


@pytest.fixture
def resnet(conversion):
    return conversion.randomise(ResNet(1, (8, 16, 32), (8, 16, 32)))


def training(network, epoch=3):
    network.eval()(torch.randn(1, 3, 32, 32))
    scores = [torch.rand(m.weight.shape[0]) for m in network.modules() if isinstance(m, Fuse)]
    return dict(
        state_dict=network.state_dict(),
        epoch=epoch,
        best_acc=torch.tensor(0.5),
        optimizer=dict(state={}, param_groups=[]),
        layers_iScore=scores,
    )


def test_a_training(runs, resnet):
    content = training(resnet)
    result = runs.check('dcff', resnet, runs.config(RESNET, *SMALL), content)
    ours = runs.ours()
    assert int(ours.fuse_steps) == 3
    op = ours.architecture.backbone.layer2[0].conv1
    torch.testing.assert_close(op.importance, content['layers_iScore'][3].double())
    # Rows are in their order, and stand for the filters that they are nearest to.
    proxies = resnet.layer2[0].conv1.layeri_softmaxP
    assert op.chosen.nonzero().flatten().tolist() == sorted(proxies.argmax(1).tolist())
    torch.testing.assert_close(op.proxies, proxies)
    how = {row['key']: row for row in result['keys']}
    assert how['layer1.0.conv1.fused_weight']['becomes'] == ''
    assert how['fc.weight']['becomes'] == 'head.fc.weight'


def test_rows_keep_their_places_when_training_goes_on(runs, resnet):
    """At the end of the schedule proxies are one-hot: a fuse step then changes no output."""
    for layer in resnet.modules():
        if isinstance(layer, Fuse):
            m, n = layer.layeri_softmaxP.shape
            layer.layeri_softmaxP.copy_(F.one_hot(torch.randperm(n)[:m], n))
    runs.check('dcff', resnet, runs.config(RESNET, *SMALL), training(resnet))
    ours = runs.ours()
    ours.fuse(1e4)
    runs.compare(resnet, ours)


def test_its_static_form(runs, resnet):
    words = [*runs.config(RESNET, *SMALL), '--compact']
    runs.check('dcff', resnet, words, training(resnet), target='export')


def test_a_compact_network(runs, resnet):
    result = runs.check(
        'dcff', resnet, runs.config(RESNET, *SMALL), compact(resnet), target='export'
    )
    assert result['form'] == 'compact'
    with pytest.raises(CompressionError, match=r"'.*ours.pth' names a file.*fused filters"):
        runs.run('dcff', runs.folder / 'theirs.pth', runs.config(RESNET, *SMALL))


@pytest.mark.parametrize('form', [training, compact])
def test_vgg_16_of_the_recipe(runs, conversion, form):
    stages = [(64, 32, 2), (128, 76, 2), (256, 166, 3), (512, 76, 3), (512, 76, 3)]
    network = conversion.randomise(VGG([[(n, m)] * count for n, m, count in stages]))
    target = 'ours.pth' if form is training else 'export'
    words = runs.config('pruning/mmcls/dcff/dcff_vgg16_300e_cifar10.py')
    runs.check('dcff', network, words, form(network), target=target)


def test_googlenet_of_the_recipe(runs, conversion):
    network = conversion.randomise(GoogLeNet())
    words = runs.config('pruning/mmcls/dcff/dcff_googlenet_300e_cifar10.py')
    runs.check('dcff', network, words, training(network))


def test_the_commands_go_on_from_there(runs, call, tool, conversion):
    """Evaluation, and training that starts with the filters that the file has chosen."""
    network = conversion.randomise(ResNet(1, (8, 24, 48), (8, 24, 48)))
    config, ours = tool.ROOT / tool.DEMO, runs.folder / 'ours.pth'
    words = [config, '--work-dir', runs.folder / 'work', '--cfg-options', *tool.SMALL]
    source = runs.save(training(network))
    call('convert', '--from', 'dcff', source, ours, '--config', config, *words[3:])
    printed = call('test', config, ours, '--json', *words[1:])
    assert 0 <= json.loads(printed)['accuracy/top1'] <= 100
    rest = ['model.temperature_start=1e4', 'optim_wrapper.optimizer.lr=0']
    call('train', *words, f'load_from={ours}', 'train_cfg.max_epochs=1', *rest)
    before, after = (
        torch.load(path, weights_only=True)['state_dict']
        for path in (ours, runs.folder / 'work' / 'epoch_1.pth')
    )
    name = 'architecture.backbone.layer2.0.conv1'
    assert torch.equal(after[f'{name}.weight'], before[f'{name}.weight'])
    assert torch.equal(after[f'{name}.chosen'], before[f'{name}.chosen'])
    # The same filters in the same places, now as they are.
    assert torch.equal(after[f'{name}.proxies'].argmax(1), before[f'{name}.proxies'].argmax(1))
    assert set(after[f'{name}.proxies'].unique().tolist()) == {0, 1}


def test_other_widths_and_depths(runs, resnet):
    source = runs.save(training(resnet))
    for options, said in (
        (['model.architecture.backbone.depth=14', SMALL[1]], "'layer1.1.conv1.weight' is missing"),
        ([SMALL[0], 'model.target_pruning_ratio=0.75'], r'\(8, 16\).*\(12, 16\) here'),
    ):
        with pytest.raises(CompressionError, match=said):
            runs.run('dcff', source, runs.config(RESNET, *options))
    assert not (runs.folder / 'ours.pth').exists()


def test_plain_layers_that_are_fused_here(runs, resnet):
    state = resnet.state_dict()
    for leaf in ('layeri_softmaxP', 'fused_weight'):
        del state[f'layer1.0.conv1.{leaf}']
    with pytest.raises(CompressionError, match="'layer1.0.conv1'.*plain"):
        runs.run('dcff', runs.save(dict(state_dict=state)), runs.config(RESNET, *SMALL))
