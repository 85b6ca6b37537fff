"""Latency: order of calls, statistics, and that settings are put back."""

import time

import numpy as np
import pytest
import torch
from torch import nn

from mmcompress.report import compare_latency
from mmcompress.report.latency import _summarize


def test_models_run_in_turn():
    calls = []
    models = {name: lambda x, name=name: calls.append(name) for name in 'AB'}
    compare_latency(models, torch.zeros(1), repeats=3, warmup=2)
    assert ''.join(calls) == 'AB' * 5


def test_statistics_by_hand():
    # The second model takes twice as long in each round, while the machine slows down.
    times = np.array([[1.0, 2.0], [2.0, 4.0], [4.0, 8.0], [8.0, 16.0]]) * 1e-3
    first, second = _summarize(['a', 'b'], times)
    same = dict(ratio_iqr=0.0)
    assert first == pytest.approx(
        dict(name='a', median_ms=3.0, iqr_ms=5.0 - 1.75, ratio=1.0, mean_ratio=1.0, **same)
    )
    assert second == pytest.approx(
        dict(name='b', median_ms=6.0, iqr_ms=10.0 - 3.5, ratio=2.0, mean_ratio=2.0, **same)
    )


def test_the_mean_counts_rounds_with_more_work():
    times = np.array([[1.0, 1.0]] * 9 + [[1.0, 6.0]])
    row = _summarize(['a', 'b'], times)[1]
    assert row['ratio'] == 1
    assert row['mean_ratio'] == pytest.approx(1.5)


def test_measures_real_time():
    models = {'short': lambda: time.sleep(0.002), 'long': lambda: time.sleep(0.02)}
    short, long = compare_latency(models, (), repeats=3, warmup=0)
    # Sleeping never ends early; how late is up to the machine.
    assert short['median_ms'] >= 2
    assert long['median_ms'] >= 20
    assert short['ratio'] == 1
    assert long['ratio'] > 1


def test_by_another_clock():
    ticks = [0.0]

    def work(seconds):
        ticks[0] += seconds

    models = {'short': lambda: work(0.002), 'long': lambda: work(0.008)}
    short, long = compare_latency(models, (), repeats=3, warmup=1, clock=lambda: ticks[0])
    assert short['median_ms'] == pytest.approx(2)
    assert long['median_ms'] == pytest.approx(8)
    assert long['ratio'] == pytest.approx(4)


def test_modules_run_in_eval_mode_without_gradients_and_are_restored():
    class Spy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm2d(3)
            self.frozen = nn.Dropout().eval()
            self.seen = set()

        def forward(self, x, y):
            self.seen.add((self.training, self.norm.training, torch.is_grad_enabled()))
            return self.norm(x) + y

    model = Spy()
    x = torch.randn(2, 3, 4, 4)
    compare_latency({'spy': model, 'function': torch.add}, (x, x), repeats=2)
    assert model.seen == {(False, False, False)}
    assert (model.training, model.norm.training, model.frozen.training) == (True, True, False)
    assert model.norm.num_batches_tracked == 0


def test_threads_are_set_and_put_back():
    before = torch.get_num_threads()
    seen = set()

    def call(x):
        seen.add(torch.get_num_threads())
        if len(seen) > 1:
            raise AssertionError

    compare_latency({'call': call}, torch.zeros(1), repeats=2, threads=1)
    assert seen == {1}
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    ('models', 'repeats', 'message'),
    [({}, 1, 'models is empty'), ({'a': abs}, 0, 'repeats=0')],
)
def test_nothing_to_measure(models, repeats, message):
    with pytest.raises(ValueError, match=message):
        compare_latency(models, torch.zeros(1), repeats=repeats)
