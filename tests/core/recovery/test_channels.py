"""core/recovery/channels.py against least squares on the data themselves, in float64."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from mmcompress.core.channels.config import ChannelRange, UnitConfig
from mmcompress.core.recovery.channels import Reader, make_up, rank, reader_of
from mmcompress.core.recovery.moments import Moments, columns_of


def data(layer, shape, seed=0):
    """Inputs that depend on each other, and their moments."""
    torch.manual_seed(seed)
    channels = shape[1]
    x = torch.randn(shape, dtype=torch.double)
    x = torch.einsum('nc...,dc->nd...', x, torch.randn(channels, channels, dtype=torch.double))
    moments = Moments(getattr(layer, 'groups', 1), columns_of(layer, x).shape[1])
    moments.total, moments.squares = moments.total.double(), moments.squares.double()
    moments.add = None
    columns = columns_of(layer, x)
    moments.total, moments.squares = columns.sum(2), columns @ columns.transpose(1, 2)
    moments.count = columns.shape[2]
    return x, moments


def least_error(outputs, columns):
    """Squared error of the best linear map from columns to outputs."""
    given, wanted = columns.detach().T.numpy(), outputs.detach().T.numpy()
    best = np.linalg.lstsq(given, wanted, rcond=None)[0]
    return float(np.square(wanted - given @ best).sum())


def test_the_channel_goes_that_others_make_up_for():
    torch.manual_seed(0)
    x = torch.randn(5, 5, dtype=torch.double) @ torch.randn(5, 200, dtype=torch.double)
    x += 0.3 * torch.randn(5, 200, dtype=torch.double)
    weights = [torch.randn(7, 5, dtype=torch.double), torch.randn(3, 5, dtype=torch.double)]
    readers = [Reader(weight, x @ x.T / 200) for weight in weights]
    order = rank(readers, 5).argsort().tolist()
    energies = [float((weight @ x).square().sum()) for weight in weights]
    left = list(range(5))
    for channel in order[:-1]:
        costs = {
            one: sum(
                least_error(weight @ x, x[[c for c in left if c != one]]) / energy
                for weight, energy in zip(weights, energies, strict=True)
            )
            for one in left
        }
        assert channel == min(costs, key=costs.get)
        left.remove(channel)


def test_groups_lose_equally_many():
    torch.manual_seed(0)
    x = torch.randn(6, 100)
    scores = rank([Reader(torch.randn(4, 6), x @ x.T)], 6, groups=3)
    for count in (3, 6):
        last = scores.topk(count).indices
        assert [int(((last // 2) == group).sum()) for group in range(3)] == [count // 3] * 3


@pytest.mark.parametrize(
    ('layer', 'shape'),
    [
        (nn.Conv2d(4, 5, 3, padding=1), (3, 4, 6, 6)),
        (nn.Conv2d(4, 6, 1, groups=2), (3, 4, 6, 6)),
        (nn.Linear(4, 3), (50, 4)),
    ],
)
def test_readers_make_up_for_what_is_gone(layer, shape):
    """No other weights on what stays, and no other bias, come nearer to the outputs."""
    layer = layer.double()
    x, moments = data(layer, shape)
    gone = torch.tensor([False, True, False, False])
    with torch.no_grad():
        before = layer(x)
        moments.covariance = lambda centred, ridge=0: Moments.covariance(moments, centred, 1e-12)
        make_up(layer, gone, moments, free_mean=False)
        view = (1, -1) if x.ndim == 2 else (1, -1, 1, 1)
        silent = x * (~gone).double().view(view)
        error = (layer(silent) - before).square().sum()
    groups = getattr(layer, 'groups', 1)
    columns = columns_of(layer, silent)
    outputs = before.movedim(1, 0).flatten(1).unflatten(0, (groups, -1))
    least = 0.0
    for wanted, own in zip(outputs, columns, strict=True):
        least += least_error(wanted, torch.cat([own, torch.ones_like(own[:1])]))
    assert float(error) == pytest.approx(least, rel=1e-6)
    assert float(error) > 0


def test_a_layer_behind_a_flattened_map():
    """Each channel is several inputs, which a choice of channels sees like positions."""
    layer = nn.Linear(12, 3)
    _, moments = data(layer, (100, 12))
    unit = UnitConfig(3, 1, [ChannelRange('fc', 0, 12, False)])
    reader = reader_of(layer, unit.channels[0], unit, moments)
    assert reader.weight.shape == (12, 3)
    covariance = moments.covariance()[0]
    for a, b in itertools.product(range(3), range(3)):
        expected = sum(covariance[4 * a + i, 4 * b + i] for i in range(4)) / 4
        assert float(torch.linalg.inv(reader.inverse)[a, b]) == pytest.approx(float(expected))
    assert reader_of(nn.Conv2d(4, 4, 1, groups=4), unit.channels[0], unit, moments) is None
