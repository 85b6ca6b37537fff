"""report/benchmark.py: what is compared with what, and what is made of the times."""

import copy

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS

from mmcompress.core import CompressionError, DependencyAnalyzer
from mmcompress.core.channels.config import narrow_units
from mmcompress.core.export.folding import fold_norms
from mmcompress.report import benchmark as module
from mmcompress.report.benchmark import AUTHORS, Benchmark
from mmcompress.report.runtimes import Runtime
from mmcompress.report.squeeze_expand import SqueezeExpand

SHAPE = (3, 32, 32)


@pytest.fixture
def pair(classifier_cfg):
    dense = MODELS.build(classifier_cfg(8)).eval()
    compact = copy.deepcopy(dense)
    units = DependencyAnalyzer().analyze(dense).units.values()
    narrow_units(compact, [(unit, unit.num_channels // 2) for unit in units])
    return dense, compact


def test_work_of_both(pair):
    benchmark = Benchmark(*pair, SHAPE)
    # ResNet-8 at half its width: every convolution but the first has a quarter of the work.
    first = 32 * 32 * 3 * 16 * 9
    inner = 32 * 32 * (2 * 16 * 16 * 9) + 16 * 16 * (16 + 32) * 32 * 9 + 8 * 8 * (32 + 64) * 64 * 9
    assert benchmark.conv_macs == dict(dense=first + inner, compact=first // 2 + inner // 4)
    assert benchmark.macs['dense'] > benchmark.conv_macs['dense']
    assert benchmark.mode == 'tensor'


def made_up(monkeypatch):
    """Times without a clock: 10 ms dense, 6 compact, 9 the authors' way; and who was timed."""
    seen = []

    def timed(calls, images, repeats, threads):
        seen.append((calls, images, repeats, threads))
        ms = dict(zip(calls, (10.0, 6.0, 9.0), strict=True))
        return [
            dict(name=name, median_ms=value, iqr_ms=0.5, ratio=value / 10, ratio_iqr=0.1)
            for name, value in ms.items()
        ]

    def convs(calls, images, repeats, threads):
        parts = dict(dense=(0, 8, 0), compact=(0, 4, 0), **{AUTHORS: (1, 4, 3)})
        names = ('squeeze', 'conv', 'expand')
        return {
            name: {p: np.array([v, 2.0 * v]) for p, v in zip(names, parts[name], strict=True)}
            for name in calls
        }

    monkeypatch.setattr(module, 'compare_latency', timed)
    monkeypatch.setattr(module, 'conv_times', convs)
    return seen


def test_figures_of_the_rows(pair, monkeypatch):
    seen = made_up(monkeypatch)
    steps = []
    benchmark = Benchmark(*pair, SHAPE, repeats=7, advance=lambda: steps.append(1))
    rows = benchmark.by_model([Runtime()], threads=[1, 2], batch_sizes=[3])
    assert len(steps) == 2
    assert [(row['model'], row['threads']) for row in rows] == [
        ('compact', 1),
        (AUTHORS, 1),
        ('compact', 2),
        (AUTHORS, 2),
    ]
    compact, authors = rows[:2]
    down = 100 * (1 - benchmark.macs['compact'] / benchmark.macs['dense'])
    assert compact['flops_down'] == authors['flops_down'] == pytest.approx(down)
    assert compact['time_down'] == pytest.approx(40)
    assert authors['time_down'] == pytest.approx(10)
    assert compact['quotient'] == pytest.approx(40 / down)
    assert compact['conv_time_down'] == pytest.approx(50)
    assert authors['conv_time_down'] == pytest.approx(0)
    shares = [authors[f'{part}_share'] for part in ('squeeze', 'conv', 'expand')]
    assert shares == pytest.approx([12.5, 50, 37.5])
    assert (compact['dense_ms'], compact['ms']) == (10, 6)
    calls, images, repeats, threads = seen[1]
    assert list(calls) == ['dense', 'compact', AUTHORS]
    assert images.shape == (3, *SHAPE)
    assert (repeats, threads) == (7, 2)


def norms_in(model):
    return sum(isinstance(m, torch.nn.BatchNorm2d) for m in model.modules())


def test_a_runtime_is_for_all_models(pair, monkeypatch):
    seen = made_up(monkeypatch)
    runtime = Runtime(folded=True, channels_last=True)
    rows = Benchmark(*pair, SHAPE).by_model([runtime], [1], [1])
    assert {row['runtime'] for row in rows} == {'folded channels_last'}
    calls, images, *_ = seen[0]
    assert images.is_contiguous(memory_format=torch.channels_last)
    for call in calls.values():
        assert norms_in(call) == 0
        layout = dict(memory_format=torch.channels_last)
        assert call.model.backbone.layer3[0].conv2.state_dict()
        assert all(p.is_contiguous(**layout) for p in call.parameters() if p.dim() == 4)
    assert sum(isinstance(m, SqueezeExpand) for m in calls[AUTHORS].modules()) == 7
    assert norms_in(pair[0]) == 7


def test_without_modules_no_time_of_convolutions(pair, monkeypatch):
    seen = made_up(monkeypatch)
    rows = Benchmark(*pair, SHAPE).by_model([Runtime(onnx=True)], [1], [1])
    assert [row['conv_time_down'] for row in rows] == [None, None]
    outputs = [call(torch.randn(2, *SHAPE))[0].shape for call in seen[0][0].values()]
    assert outputs == [(2, 10)] * 3


def test_real_times(pair):
    """Whatever the clock says, the rows are complete."""
    benchmark = Benchmark(*pair, SHAPE, repeats=1)
    rows = benchmark.by_model([Runtime()], [1], [1])
    assert all(row['ms'] > 0 and row['conv_time_down'] is not None for row in rows)
    layers = benchmark.by_layer(threads=1, batch_size=2)
    assert len(layers) == len(benchmark.kinds) == 6
    assert sum(row['count'] for row in layers) == 7
    assert layers[0]['layer'] == 'backbone.conv1'
    assert layers[0]['flops_down'] == pytest.approx(50)
    assert layers[1]['layers'] == ['backbone.layer1.0.conv1', 'backbone.layer1.0.conv2']


def test_a_folded_export_is_compared_with_a_folded_model(pair):
    dense, compact = pair
    fold_norms(compact)
    models = Benchmark(dense, compact, SHAPE).models
    assert norms_in(models['dense']) == 0
    assert norms_in(dense) == 7


def test_nothing_narrower(pair):
    with pytest.raises(CompressionError, match='no convolution narrower'):
        Benchmark(pair[0], pair[0], SHAPE)
