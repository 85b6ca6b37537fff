"""core/recovery/moments.py: what filters see, and its covariance."""

import pytest
import torch
from torch import nn

from mmcompress.core.recovery import moments
from mmcompress.core.recovery.moments import Moments, columns_of, gather, inputs_of_filter

LAYERS = [
    (nn.Conv2d(6, 4, 3, padding=1), (2, 6, 7, 8)),
    (nn.Conv2d(6, 4, (3, 1), stride=2, dilation=2, groups=2), (2, 6, 9, 8)),
    (nn.Conv2d(6, 6, 3, padding='same', groups=6), (1, 6, 5, 5)),
    (nn.Conv2d(6, 4, 3, padding=2, padding_mode='reflect'), (1, 6, 5, 6)),
    (nn.Linear(6, 4), (2, 3, 6)),
]


@pytest.mark.parametrize(('layer', 'shape'), LAYERS)
def test_columns_times_the_weight_are_the_output(layer, shape):
    layer.bias = None
    x = torch.randn(shape)
    columns = columns_of(layer, x)
    groups, inputs, _ = columns.shape
    assert inputs == inputs_of_filter(layer)
    out = (layer.weight.reshape(groups, -1, inputs) @ columns).flatten(0, 1)
    expected = layer(x)
    axis = -1 if isinstance(layer, nn.Linear) else 1
    torch.testing.assert_close(out, expected.movedim(axis, 0).flatten(1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('centred', [True, False])
def test_covariance(centred):
    x = torch.randn(2, 5, 300) + 1
    own = Moments(2, 5)
    for part in x.split(100, 2):
        own.add(part)
    for found, columns in zip(own.covariance(centred, ridge=0), x.double(), strict=True):
        if centred:
            columns = columns - columns.mean(1, keepdim=True)
        torch.testing.assert_close(found.double(), columns @ columns.T / 300, rtol=1e-4, atol=1e-5)


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.Conv2d(8, 4, 1))


def found(passes=None, seed=0):
    ran = []

    def forward(model, batch):
        ran.append(1)
        return model(batch)

    torch.manual_seed(1)
    batches = [torch.randn(2, 3, 12, 12) for _ in range(3)]
    result = dict(gather(network(), ['0', '2', '3'], lambda: batches, forward, 6, seed))
    assert passes is None or len(ran) == 3 * passes
    return result


def test_memory_is_bounded_by_more_passes(monkeypatch):
    whole = found(passes=1)
    monkeypatch.setattr(moments, 'MEMORY', 4 * 72**2)
    apart = found(passes=3)
    for name, own in whole.items():
        assert own.count == 6 * {'0': 100, '2': 64, '3': 64}[name]
        torch.testing.assert_close(apart[name].squares, own.squares)


def test_positions_are_drawn_by_the_seed(monkeypatch):
    monkeypatch.setattr(moments, 'LEAST_POSITIONS', 60)
    monkeypatch.setattr(moments, 'POSITIONS', 1)
    one, same, other = found(), found(), found(seed=1)
    assert one['3'].count == 60
    assert torch.equal(one['2'].squares, same['2'].squares)
    assert not torch.equal(one['2'].squares, other['2'].squares)
