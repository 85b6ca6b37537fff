"""What tests of latency share."""

import pytest

from mmcompress.latency import time_layers
from mmcompress.latency.whole import Whole

from .made_up import time_of, time_of_network


@pytest.fixture
def clock(monkeypatch, tmp_path):
    """The clock, and how many networks it has timed."""
    timed = []

    def compare(self, model, rounds=1):
        timed.append(model)
        dense, own = time_of_network(self.model), time_of_network(model)
        return dict(ratio=own / dense, ratio_iqr=0.0, ms=own, dense_ms=dense)

    def dense_ms(self):
        return time_of_network(self.model)

    def begin(self, dense, *args):
        self.model, self.part = dense, 'tensor'
        self._folder = type('Nothing', (), dict(cleanup=lambda self: None))()

    monkeypatch.setenv('MMCOMPRESS_CACHE', str(tmp_path / 'cache'))
    monkeypatch.setattr(
        time_layers, 'time_point', lambda layer, ins, outs, *_: time_of(layer, ins, outs)
    )
    monkeypatch.setattr(Whole, '__init__', begin)
    monkeypatch.setattr(Whole, 'dense_ms', dense_ms)
    monkeypatch.setattr(Whole, 'compare', compare)
    return timed
