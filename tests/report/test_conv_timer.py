"""Work and time of convolutions, read in the forward pass."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from mmcompress.report import conv_timer
from mmcompress.report.conv_timer import conv_inputs, conv_times
from mmcompress.report.squeeze_expand import SqueezeExpand


def test_shapes_and_work_by_hand():
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1, groups=4),
        nn.ConvTranspose2d(8, 2, 2, stride=2),
    )
    shapes, macs = conv_inputs(model, torch.randn(2, 3, 6, 8))
    assert shapes == {'0': (2, 3, 6, 8), '2': (2, 8, 3, 4), '3': (2, 8, 3, 4)}
    assert macs == 2 * 12 * (3 * 8 * 9 + 8 * 2 * 9 + 8 * 2 * 4)
    assert not model[0]._forward_hooks


def test_a_layer_that_runs_twice_works_twice():
    conv = nn.Conv2d(3, 3, 1)
    once = conv_inputs(nn.Sequential(conv), torch.randn(1, 3, 4, 4))[1]
    assert conv_inputs(nn.Sequential(conv, conv), torch.randn(1, 3, 4, 4))[1] == 2 * once


@pytest.fixture
def clock(monkeypatch):
    """A clock that modules put forward; a list of one number of seconds."""
    now = [0.0]
    monkeypatch.setattr(conv_timer, 'time', SimpleNamespace(perf_counter=lambda: now[0]))
    return now


def test_only_convolutions_count(clock):
    calls = []

    def passes(module, seconds, name):
        def forward(x):
            calls.append(name)
            clock[0] += seconds
            return x

        module.forward = forward
        return module

    models = {
        'one': nn.Sequential(
            passes(nn.Conv2d(4, 4, 1), 2.0, 'one'), passes(nn.ReLU(), 50.0, 'one')
        ),
        'two': nn.Sequential(
            passes(nn.Conv2d(4, 4, 1), 2.0, 'two'), passes(nn.Conv2d(4, 4, 1), 3.0, 'two')
        ),
    }
    found = conv_times(models, torch.randn(1, 4, 2, 2), repeats=2, warmup=1)
    assert calls == ['one', 'one', 'two', 'two'] * 3
    assert found['one']['conv'].tolist() == [2, 2]
    assert found['two']['conv'].tolist() == [5, 5]
    assert found['one']['squeeze'].tolist() == found['one']['expand'].tolist() == [0, 0]
    assert not models['one'][0]._forward_hooks


def test_the_authors_way_in_three_parts():
    model = nn.Sequential(SqueezeExpand(nn.Conv2d(2, 2, 1), 4, 4))
    found = conv_times({'model': model}, torch.randn(1, 4, 8, 8), repeats=3)['model']
    assert all((found[part] > 0).all() for part in ('squeeze', 'conv', 'expand'))


def test_hooks_go_when_the_model_fails():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1))
    for run in (conv_inputs, lambda m, x: conv_times({'model': m}, x)):
        with pytest.raises(RuntimeError):
            run(model, torch.randn(1, 3, 4, 4))
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in model)
