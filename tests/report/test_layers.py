"""One convolution at a time."""

import pytest
import torch
from torch import nn

from mmcompress.report import layers
from mmcompress.report.layers import compare_layer, kinds_of_layers, quotient


def test_figures_of_a_row(monkeypatch):
    """Times are made up; what is made of them is not."""
    ms = dict(dense=10.0, conv=6.0, squeeze_expand=9.0, squeeze=1.0, expand=3.0)

    def timed(calls, inputs, repeats, threads):
        assert (inputs, repeats, threads) == ((), 7, 2)
        shapes = {name: tuple(call().shape) for name, call in calls.items()}
        assert shapes == dict(
            dense=(2, 12, 4, 4),
            conv=(2, 6, 4, 4),
            squeeze_expand=(2, 12, 4, 4),
            squeeze=(2, 4, 8, 8),
            expand=(2, 12, 4, 4),
        )
        return [
            dict(name=name, median_ms=value, iqr_ms=0.5, ratio=value / 10, ratio_iqr=0.1)
            for name, value in ms.items()
        ]

    monkeypatch.setattr(layers, 'compare_latency', timed)
    dense, compact = (nn.Conv2d(*io, 3, stride=2, padding=1) for io in ((8, 12), (4, 6)))
    with torch.no_grad():
        row = compare_layer(dense, compact, (2, 8, 8, 8), repeats=7, threads=2)
    assert (row['input'], row['channels'], row['kept']) == ('8x8x8', '8-12', '4-6')
    assert row['flops_down'] == pytest.approx(75)
    assert row['time_down'] == pytest.approx(40)
    assert row['squeeze_expand_time_down'] == pytest.approx(10)
    assert row['quotient'] == pytest.approx(40 / 75)
    assert row['squeeze_expand_quotient'] == pytest.approx(10 / 75)
    shares = [row[f'{part}_share'] for part in ('squeeze', 'conv', 'expand')]
    assert shares == pytest.approx([10, 60, 30])
    assert row['compact_median_ms'] == 6


def test_layers_that_do_the_same_work_are_one_kind():
    def convs(inner):
        kernels = (3, 3, 1, 1, 1)
        return {str(i): nn.Conv2d(8, inner, kernel) for i, kernel in enumerate(kernels)}

    dense = nn.Sequential(*convs(8).values())
    shapes = {'0': (1, 8, 9, 9), '1': (1, 8, 9, 9), '2': (1, 8, 9, 9), '3': (1, 8, 5, 5)}
    # The last one doesn't run.
    assert kinds_of_layers(dense, convs(4), shapes) == [['0', '1'], ['2'], ['3']]


def test_no_fewer_flops_no_quotient():
    assert quotient(30.0, 60.0) == 0.5
    assert quotient(3.0, 0.0) is None
