"""latency/works.py: shapes of layers, and how they follow the widths of units."""

import pytest
import torch
from torch import nn

from mmcompress.core import DependencyAnalyzer
from mmcompress.core.channels.config import narrow_units
from mmcompress.latency.time_layers import FIXED
from mmcompress.latency.works import works_of


class Net(nn.Module):
    """Convolutions of all kinds: strided, depthwise, concatenated, in front of a linear layer."""

    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(3, 16, 3, 2, 1, bias=False)
        self.norm = nn.BatchNorm2d(16)
        self.deep = nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.b = nn.Conv2d(16, 8, 1)
        self.c = nn.Conv2d(16, 24, (1, 3), padding=(0, 1))
        self.d = nn.Conv2d(32, 12, 3, padding='same', dilation=2)
        self.fc = nn.Linear(12 * 16, 5)

    def forward(self, x):
        x = self.deep(self.norm(self.a(x)).relu())
        x = self.d(torch.cat([self.b(x), self.c(x)], 1))
        return self.fc(nn.functional.adaptive_avg_pool2d(x, 4).flatten(1))


@pytest.fixture
def net():
    torch.manual_seed(0)
    return Net().eval()


@pytest.fixture
def units(net):
    return DependencyAnalyzer(input_shape=(1, 3, 20, 12)).analyze(net).units


def test_widths_are_those_of_a_narrowed_network(net, units):
    """Whatever units keep, every layer has the channels that narrowing leaves it."""
    kept = {
        name: unit.num_channels // 2 + index % 2 * unit.divisor
        for index, (name, unit) in enumerate(units.items())
    }
    narrow_units(net, [(unit, kept[name]) for name, unit in units.items()])
    works = works_of(Net(), units, (3, 20, 12))
    assert {name for work in works for name in work.names} == {'a', 'deep', 'b', 'c', 'd', 'fc'}
    for work in works:
        for name in work.names:
            layer = net.get_submodule(name)
            if isinstance(layer, nn.Linear):
                expected = (layer.in_features, layer.out_features)
            else:
                expected = (layer.in_channels, layer.out_channels)
            assert work.widths(kept) == expected, name


def test_macs_and_parameters_are_those_that_are_counted(net, units):
    counted = {}
    for name, layer in net.named_modules():
        if hasattr(layer, 'weight'):
            # Each weight is used once at every position of the output.
            layer.register_forward_hook(
                lambda m, x, y, name=name: counted.update(
                    {name: m.weight.numel() * y[0, 0].numel()}
                )
            )
    net(torch.zeros(1, 3, 20, 12))
    for work in works_of(net, units, (3, 20, 12), batch=4):
        macs, params = (each * work.pairs(work.ins, work.outs) for each in work.amounts)
        assert macs == sum(counted[name] for name in work.names), work.names
        assert params == sum(net.get_submodule(name).weight.numel() for name in work.names)


def test_what_is_fixed(net, units):
    works = {work.names[0]: work for work in works_of(net, units, (3, 20, 12), batch=4)}
    assert all(set(work.layer) == set(FIXED) for work in works.values())
    assert works['a'].layer == dict(
        kind='conv', kernel=[3, 3], stride=[2, 2], padding=[1, 1], dilation=[1, 1], groups=1,
        depthwise=False, size=[20, 12], batch=4, norm=True,
    )  # fmt: skip
    assert works['deep'].layer['depthwise'] is True
    assert works['deep'].layer['size'] == [10, 6]
    assert works['d'].layer['padding'] == [2, 2]
    assert works['fc'].layer['batch'] == 4
    assert works['fc'].layer['kind'] == 'linear'


def test_layers_that_do_the_same_are_one(net):
    """And a layer that runs on maps of two sizes is two."""

    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Conv2d(3, 8, 3, padding=1)
            self.blocks = nn.ModuleList(nn.Conv2d(8, 8, 3, padding=1) for _ in range(2))
            self.last = nn.Conv2d(8, 2, 1)

        def forward(self, x):
            x = self.first(x).relu()
            for block in self.blocks:
                x = x + block(x).relu()
            return self.last(x), self.last(nn.functional.avg_pool2d(x, 2))

    model = Twice()
    units = DependencyAnalyzer(input_shape=(1, 3, 8, 8)).analyze(model).units
    works = works_of(model, units, (3, 8, 8))
    names = sorted(tuple(work.names) for work in works)
    assert names == [('blocks.0', 'blocks.1'), ('first',), ('last',), ('last',)]
    sizes = [work.layer['size'] for work in works if work.names == ['last']]
    assert sizes == [[8, 8], [4, 4]]
