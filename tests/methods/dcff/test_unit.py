"""methods/dcff/unit.py: which producers become ops, and at what width."""

import pytest
import torch
from mmcv.cnn.bricks.wrappers import Conv2d as MMCVConv2d
from torch import nn

from mmcompress.core import DependencyAnalyzer, UnitConfig
from mmcompress.core.channels.config import ChannelRange
from mmcompress.methods.dcff import DCFFUnit, FusedConv2d
from mmcompress.models import PadShortcut


class Net(nn.Module):
    def __init__(self, **layers):
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)


def config(num_channels, *producers, divisor=1):
    channels = [ChannelRange(*producer, True) for producer in producers]
    return UnitConfig(num_channels, divisor, channels)


def test_every_producer_has_its_own_proxies():
    net = Net(a=nn.Conv2d(3, 8, 3), b=nn.Conv2d(3, 8, 1), n=nn.BatchNorm2d(8), p=PadShortcut(4, 8))
    unit = DCFFUnit(config(8, ('a', 0, 8), ('b', 0, 8), ('n', 0, 8), ('p', 0, 8)), 0.5)
    assert unit.unsupported(net) == ''
    weight = net.a.weight
    own = unit.prepare(net)
    assert [channel.name for channel in own] == ['a', 'b']
    assert type(net.a) is type(net.b) is FusedConv2d
    assert type(net.p) is PadShortcut
    assert net.a.weight is weight
    net.a.fuse(2.0)
    net.b.fuse(2.0)
    assert net.a.proxies.shape == net.b.proxies.shape == (4, 8)
    assert not torch.equal(net.a.proxies, net.b.proxies)


def test_the_training_mode_is_kept():
    net = Net(a=nn.Conv2d(3, 8, 3)).eval()
    DCFFUnit(config(8, ('a', 0, 8)), 0.5).prepare(net)
    assert not net.a.training


def test_two_units_of_one_layer():
    net = Net(a=nn.Conv2d(3, 8, 3))
    DCFFUnit(config(3, ('a', 0, 3)), 0.4).prepare(net)
    op = net.a
    DCFFUnit(config(5, ('a', 3, 8)), 0.4).prepare(net)
    assert net.a is op
    assert op.runs == [(1, 3), (2, 5)]


def test_a_depthwise_producer_is_none():
    net = Net(a=nn.Conv2d(3, 8, 1), d=nn.Conv2d(8, 8, 3, groups=8))
    DCFFUnit(config(8, ('a', 0, 8), ('d', 0, 8)), 0.5).prepare(net)
    assert type(net.d) is nn.Conv2d


class Subclass(nn.Conv2d):
    def __init__(self, *args):
        super().__init__(*args)
        self.register_buffer('factor', torch.tensor(2.0))

    def forward(self, x):
        return super().forward(x) * self.factor


@pytest.mark.parametrize(
    'layer',
    [
        lambda: nn.Conv1d(3, 8, 3),
        lambda: nn.Linear(3, 8),
        lambda: nn.ConvTranspose2d(3, 8, 2),
        lambda: Subclass(3, 8, 3),
    ],
)
def test_other_producers_are_left_alone(layer):
    net = Net(a=nn.Conv2d(3, 8, 3), b=layer())
    unit = DCFFUnit(config(8, ('a', 0, 8), ('b', 0, 8)), 0.5)
    assert unit.unsupported(net) == f'b is a {type(net.b).__name__}, not a plain Conv2d'


def test_mmcv_s_convolution_is_plain():
    net = Net(a=MMCVConv2d(3, 8, 3))
    unit = DCFFUnit(config(8, ('a', 0, 8)), 0.5)
    assert unit.unsupported(net) == ''
    unit.prepare(net)
    assert net.a(torch.randn(1, 3, 6, 6)).shape == (1, 4, 4, 4)


def test_a_grouped_convolution():
    class Grouped(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone = nn.Sequential(
                nn.Conv2d(3, 12, 3), nn.ReLU(), nn.Conv2d(12, 6, 3, groups=3), nn.Conv2d(6, 4, 1)
            )
            self.head = nn.Linear(4, 2)

        def forward(self, x):
            return self.head(self.backbone(x).mean(dim=(2, 3)))

    net = Grouped()
    units = DependencyAnalyzer().analyze(net).units
    for found in units.values():
        DCFFUnit(found, 0.7, found.divisor).prepare(net)
    assert net.backbone[0].out_channels == 6
    assert net.backbone[2].runs == [(1, 2)] * 3
