"""methods/magnitude/criteria.py: every criterion against its formula, written out in float64."""

import pytest
import torch
from torch import nn

from mmcompress.core import CompressionError, UnitConfig
from mmcompress.core.channels.config import ChannelRange
from mmcompress.methods.magnitude import MagnitudeUnit
from mmcompress.methods.magnitude.criteria import CRITERIA


class Pair(nn.Module):
    """Two convolutions whose channels are added, each with its norm."""

    def __init__(self, norm=True):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 6, 3), nn.Conv2d(5, 6, 1)
        self.n, self.m = (nn.BatchNorm2d(6) if norm else nn.Identity() for _ in range(2))


def prepared(norm=True):
    net = Pair(norm)
    for p in net.parameters():
        nn.init.normal_(p)
    producers = ['a', 'b', *(['n', 'm'] if norm else [])]
    config = UnitConfig(6, 1, [ChannelRange(name, 0, 6, True) for name in producers])
    unit = MagnitudeUnit(config, 0.5, norms=dict(a='n', b='m') if norm else {})
    unit.prepare(net)
    return net, unit


def rows(net):
    """The weights of each channel as lists of floats."""
    return [[*net.a.weight[i].flatten().tolist(), *net.b.weight[i].flatten().tolist()]
            for i in range(6)]  # fmt: skip


def close(found, expected):
    assert found.tolist() == pytest.approx(expected, rel=1e-5)


def test_norms_of_weights():
    net, unit = prepared()
    close(CRITERIA['l1']().score(unit), [sum(map(abs, r)) / len(r) for r in rows(net)])
    squares = [(sum(w * w for w in r) / len(r)) ** 0.5 for r in rows(net)]
    close(CRITERIA['l2']().score(unit), squares)


def test_scales_of_batch_norms():
    net, unit = prepared()
    expected = [
        sum(abs(gate.norm.weight[i].item()) for gate in (net.n, net.m)) / 2 for i in range(6)
    ]
    close(CRITERIA['bn_scale']().score(unit), expected)


def test_no_batch_norm_to_ask():
    _, unit = prepared(norm=False)
    with pytest.raises(CompressionError, match="'bn_scale'.*'l1'"):
        CRITERIA['bn_scale']().check(unit)


def test_distances_to_the_filters_that_are_left():
    net, unit = prepared()
    unit.op.mask[[1, 4]] = 0
    given = rows(net)
    size = len(given[0]) ** 0.5

    def distance(one, other):
        return sum((a - b) ** 2 for a, b in zip(one, other, strict=True)) ** 0.5

    expected = [sum(distance(r, given[j]) for j in (0, 2, 3, 5)) / 4 / size for r in given]
    close(CRITERIA['fpgm']().score(unit), expected)


def test_random_numbers_of_the_seed():
    _, unit = prepared()
    one, same, other = (CRITERIA['random'](seed).score(unit) for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_taylor_adds_up_over_steps():
    net, unit = prepared()
    criterion, expected = CRITERIA['taylor'](), [0.0] * 6
    for _ in range(3):
        net.zero_grad()
        x, y = torch.randn(2, 3, 5, 5), torch.randn(2, 5, 3, 3)
        (net.n(net.a(x)) + net.m(net.b(y))).square().sum().backward()
        criterion.watch(unit)
        for i in range(6):
            terms = [
                abs(w * g)
                for op in (net.a, net.b)
                for w, g in zip(
                    op.weight[i].flatten().tolist(), op.weight.grad[i].flatten().tolist(),
                    strict=True,
                )
            ]  # fmt: skip
            expected[i] += sum(terms) / len(terms)
    close(criterion.score(unit), expected)
    assert min(expected) > 0


def test_taylor_waits_for_no_device():
    """On the meta device, whatever asks for a value fails."""
    net, unit = prepared()
    net.to('meta')
    CRITERIA['taylor']().watch(unit)
    assert unit.op.evidence.is_meta


def test_pruned_channels_stay_away():
    _, unit = prepared()
    unit.prune(torch.tensor([6.0, 5, 4, 3, 2, 1]), 4)
    assert unit.op.mask.tolist() == [1, 1, 1, 1, 0, 0]
    unit.prune(torch.tensor([0.0, 1, 2, 3, 9, 9]), 3)
    assert unit.op.mask.tolist() == [0, 1, 1, 1, 0, 0]


def test_equally_many_of_each_group():
    net = nn.Module()
    net.a = nn.Conv2d(4, 8, 3, groups=2)
    unit = MagnitudeUnit(UnitConfig(8, 2, [ChannelRange('a', 0, 8, True)]), 0.5, 2)
    unit.prepare(net)
    unit.prune(torch.arange(8.0), 4)
    assert unit.op.mask.tolist() == [0, 0, 1, 1, 0, 0, 1, 1]
