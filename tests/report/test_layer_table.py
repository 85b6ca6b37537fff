"""report/layer_table.py: what has become of each layer."""

import copy

import pytest
import torch
from mmengine.registry import MODELS
from torch import nn

from mmcompress.core.export.onnx import OnImages
from mmcompress.core.layers.narrow import narrow
from mmcompress.report.layer_table import (
    add_times,
    layer_figures,
    layer_times,
    layers_before_and_after,
)

SHAPE = (3, 8, 8)


@pytest.fixture
def dense(tiny_cfg):
    return MODELS.build(tiny_cfg).eval()


@pytest.fixture
def narrower(dense):
    """Half of the filters of the first convolution."""
    static = copy.deepcopy(dense)
    keep = torch.arange(4)
    narrow(static.backbone.conv1, None, keep)
    narrow(static.backbone.bn1, keep, keep)
    narrow(static.backbone.conv2, keep, None)
    return static


def test_a_narrower_network(dense, narrower):
    first, second, head = layers_before_and_after(dense, narrower, SHAPE)
    assert first == dict(
        layer='backbone.conv1', kernel='3x3', form='narrower', rank=None,
        channels=[[3, 8], [3, 4]], params=[216, 108], macs=[216 * 64, 108 * 64],
    )  # fmt: skip
    assert second['channels'] == [[8, 16], [4, 16]]
    assert second['params'] == [8 * 16 * 9, 4 * 16 * 9]
    assert (head['layer'], head['form'], head['kernel']) == ('head', 'as it was', '1')
    assert head['macs'][0] == head['macs'][1]


def test_a_factored_layer(dense):
    static = copy.deepcopy(dense)
    static.backbone.conv2 = nn.Sequential(
        nn.Conv2d(8, 5, 3, stride=2, padding=1, bias=False), nn.Conv2d(5, 16, 1)
    )
    row = layers_before_and_after(dense, static, SHAPE)[1]
    assert (row['form'], row['rank'], row['channels']) == ('factored', 5, [[8, 16], [8, 16]])
    assert row['params'] == [8 * 16 * 9, 8 * 5 * 9 + 5 * 16]
    assert row['macs'][1] == (8 * 5 * 9 + 5 * 16) * 16 + (row['macs'][0] - 8 * 16 * 9 * 16)
    (ranks,) = (f for f in layer_figures([row]) if f.name == 'layers-ranks')
    assert [series.y for series in ranks.series] == [[16], [5]]


def test_a_layer_that_went_into_another(dense):
    static = copy.deepcopy(dense)
    static.backbone.conv1 = nn.Identity()
    static.backbone.bn1 = nn.Identity()
    static.backbone.conv2 = nn.Conv2d(3, 16, 3, stride=2, padding=1)
    row = layers_before_and_after(dense, static, SHAPE)[0]
    assert (row['form'], row['channels'][1], row['params'][1]) == ('merged into another', None, 0)
    assert layer_figures([row])[0].series[1].y == [0]


def test_time_by_layer(dense, narrower):
    rows = layers_before_and_after(dense, narrower, SHAPE)
    images = torch.randn(1, *SHAPE)
    add_times(rows, OnImages(dense), OnImages(narrower), images, 3)
    assert all(ms > 0 for row in rows for ms in row['ms'])
    assert [figure.name for figure in layer_figures(rows)] == [
        'layers-widths', 'layers-macs', 'layers-times',
    ]  # fmt: skip
    assert not dense.backbone.conv1._forward_hooks


class Slow(nn.Module):
    """Takes as long as it is told, and runs twice."""

    def __init__(self):
        super().__init__()
        self.once, self.twice = nn.Identity(), nn.Identity()

    def forward(self, x):
        return self.twice(self.once(self.twice(x)))


def test_a_layer_that_runs_twice_has_the_sum(monkeypatch):
    clock = iter(range(10_000))
    monkeypatch.setattr('mmcompress.report.conv_timer.time.perf_counter', lambda: next(clock))
    names = dict(once='once', twice='twice')
    times = layer_times(dict(a=Slow()), dict(a=names), torch.zeros(1), repeats=3)
    assert times == dict(a=dict(once=1e3, twice=2e3))


def test_nothing_differs(dense):
    rows = layers_before_and_after(dense, copy.deepcopy(dense), SHAPE)
    assert {row['form'] for row in rows} == {'as it was'}
    assert layer_figures(rows) == []
