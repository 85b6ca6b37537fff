"""methods/fcf/unit.py: scalars for the convolutions and norms of a unit."""

import pytest
import torch
from mmcv.ops import DeformConv2d
from torch import nn

from mmcompress.core import UnitConfig
from mmcompress.core.channels.config import ChannelRange
from mmcompress.core.channels.gate import Gate
from mmcompress.methods.fcf import FactorizedConv2d, FCFUnit
from mmcompress.models import PadShortcut


class Net(nn.Module):
    def __init__(self, **layers):
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)


def config(num_channels, *producers, divisor=1, consumers=()):
    channels = [ChannelRange(*producer, True) for producer in producers]
    channels += [ChannelRange(*consumer, False) for consumer in consumers]
    return UnitConfig(num_channels, divisor, channels)


def test_all_convolutions_share_the_scalars_of_the_first():
    net = Net(a=nn.Conv2d(3, 8, 3), b=nn.Conv2d(3, 8, 1), n=nn.BatchNorm2d(8))
    channels = config(8, ('a', 0, 8), ('b', 0, 8), ('n', 0, 8))
    unit = FCFUnit(channels, 0.3, norms={'b': 'n'})
    assert unit.unsupported(net) == ''
    assert unit.width == 2
    unit.prepare(net)
    assert type(net.a) is type(net.b) is FactorizedConv2d
    assert unit.op is net.a
    assert unit.ops == [net.a, net.b]
    assert net.b.scales is net.a.v
    assert (net.a.scaled_by_norm, net.b.scaled_by_norm) == (False, True)
    assert unit.width == unit.asked == int(net.a.keep) == 2
    # Dense while it trains.
    assert type(net.n) is Gate
    assert net.n.norm.num_features == 8
    with torch.no_grad():
        net.a.v[3] = 0
    x = torch.randn(2, 3, 6, 6)
    assert not net.a(x)[:, 3].any()
    assert net.b(x)[:, 3].any()
    assert not net.n(net.b(x))[:, 3].any()


def test_a_norm_that_is_not_directly_behind_is_scaled_as_well():
    """It would turn channels that are zero into constants."""
    net = Net(a=nn.Conv2d(3, 8, 1), d=nn.Conv2d(8, 8, 3, groups=8, bias=False), n=nn.BatchNorm2d(8))
    channels = config(8, ('a', 0, 8), ('d', 0, 8), ('n', 0, 8))
    unit = FCFUnit(channels, 0.5, norms={'d': 'n'})
    unit.prepare(net)
    nn.init.normal_(net.n.norm.bias)
    assert type(net.d) is nn.Conv2d
    assert not net.a.scaled_by_norm
    with torch.no_grad():
        net.a.v[[0, 5]] = 0
    out = net.n(net.d(net.a(torch.randn(2, 3, 6, 6))))
    assert not out[:, [0, 5]].any()
    assert out[:, [1, 2, 3, 4, 6, 7]].flatten(2).any(2).all()


def test_the_training_mode_and_requires_grad_are_kept():
    net = Net(a=nn.Conv2d(3, 8, 3), n=nn.BatchNorm2d(8)).eval()
    net.a.weight.requires_grad_(False)
    FCFUnit(config(8, ('a', 0, 8), ('n', 0, 8))).prepare(net)
    assert not any(module.training for module in (net.a, net.n, net.n.norm))
    assert not net.a.weight.requires_grad


def test_partial():
    assert FCFUnit(config(8, ('a', 0, 8))).partial
    assert not FCFUnit(config(8, ('a', 0, 8), consumers=[('b', 0, 8)])).partial


@pytest.mark.parametrize('groups', [1, 4])
def test_kept_are_the_largest_of_each_group(groups):
    net = Net(a=nn.Conv2d(4, 12, 3, groups=groups))
    unit = FCFUnit(config(12, ('a', 0, 12), divisor=groups), 0.7, divisor=groups)
    unit.prepare(net)
    with torch.no_grad():
        net.a.v.copy_(torch.tensor([9.0, 8, 7, 6, 5, 4, 3, 2, 1, 0, -1, 12]))
    assert unit.rows.shape == (groups, 12 // groups)
    assert unit.width == 8
    expected = [0, 1, 2, 3, 4, 5, 6, 11] if groups == 1 else [0, 1, 3, 4, 6, 7, 9, 11]
    assert unit.kept().tolist() == expected


def test_rows_share_memory_with_the_scalars():
    net = Net(a=nn.Conv2d(4, 12, 3, groups=4))
    unit = FCFUnit(config(12, ('a', 0, 12), divisor=4), divisor=4)
    unit.prepare(net)
    unit.rows[2, 1] = 7
    assert net.a.v[7] == 7


def test_the_users_divisor_is_no_group():
    """Widths are a multiple of it, but any of the filters may stay."""
    net = Net(a=nn.Conv2d(3, 12, 3))
    unit = FCFUnit(config(12, ('a', 0, 12)), 0.7, divisor=4)
    unit.prepare(net)
    with torch.no_grad():
        net.a.v.copy_(torch.arange(12))
    assert unit.width == 8
    assert unit.kept().tolist() == list(range(4, 12))


def test_magnitudes_are_means_over_all_weights_of_a_channel():
    net = Net(a=nn.Conv2d(3, 2, 3), b=nn.Conv2d(5, 2, 1))
    unit = FCFUnit(config(2, ('a', 0, 2), ('b', 0, 2)))
    unit.prepare(net)
    expected = [
        sum(float(op.weight[i].detach().abs().sum()) for op in (net.a, net.b)) / (27 + 5)
        for i in range(2)
    ]
    assert unit.magnitudes().tolist() == pytest.approx(expected)


@pytest.mark.parametrize(
    ('layers', 'producers', 'why'),
    [
        (dict(a=nn.Conv2d(3, 8, 3), n=nn.GroupNorm(2, 8)), [('a', 0, 8), ('n', 0, 8)],
         'n is a GroupNorm, whose statistics would change'),
        (dict(a=nn.Conv2d(3, 8, 3), n=nn.LayerNorm(8)), [('a', 0, 8), ('n', 0, 8)],
         'n is a LayerNorm'),
        (dict(a=nn.Conv2d(3, 16, 3)), [('a', 0, 8)], 'a gives it channels 0 to 8 of 16'),
        (dict(a=nn.ConvTranspose2d(3, 8, 3)), [('a', 0, 8)], 'a is a ConvTranspose2d'),
        (dict(a=nn.Linear(3, 8)), [('a', 0, 8)], 'a is a Linear'),
        (dict(a=DeformConv2d(3, 8, 3)), [('a', 0, 8)], 'a is a DeformConv2d'),
    ],
    ids=lambda value: value if isinstance(value, str) else '',
)  # fmt: skip
def test_refused(layers, producers, why):
    size = producers[0][2]
    assert why in FCFUnit(config(size, *producers)).unsupported(Net(**layers))


def test_a_shortcut_that_pads_is_scaled():
    """It would put channels of an earlier stage where there are to be none."""
    net = Net(a=nn.Conv2d(3, 8, 3), p=PadShortcut(4, 8, 1))
    FCFUnit(config(8, ('a', 0, 8), ('p', 0, 8))).prepare(net)
    with torch.no_grad():
        net.a.v[[2, 4]] = 0
    out = net.p(torch.rand(2, 4, 5, 5) + 1)
    assert out.flatten(2).any(2).tolist() == [[False] * 3 + [True, False, True] + [False] * 2] * 2
    assert net.p.to_static().out_channels == 8


def test_a_bias_behind_a_depthwise_convolution():
    net = Net(a=nn.Conv2d(3, 4, 1), d=nn.Conv2d(4, 4, 3, groups=4))
    FCFUnit(config(4, ('a', 0, 4), ('d', 0, 4))).prepare(net)
    with torch.no_grad():
        net.a.v[1] = 0
    assert not net.d(net.a(torch.randn(2, 3, 5, 5)))[:, 1].any()
