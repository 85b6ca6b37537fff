"""engine/compression_hook.py: the time that an algorithm is told."""

import pytest
from mmengine.registry import MODELS

from mmcompress.core import Clock
from mmcompress.methods.dcff import DCFF

NET = dict(type='TinyNet', width=4)


@MODELS.register_module(force=True)
class NotesTheTime(DCFF):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.told = []

    def tick(self, clock):
        super().tick(clock)
        self.told.append(clock)


def told(make_runner, length, by_epoch):
    model = dict(type='NotesTheTime', architecture=NET, target_pruning_ratio=0.5)
    runner = make_runner(model, length, by_epoch=by_epoch, validate=False)
    runner.train()
    return runner.model.told


def test_epoch_based(make_runner):
    clocks = told(make_runner, 2, True)
    assert clocks == [Clock(i // 4, i, 2, 8, i % 4 == 0) for i in range(8)]


def test_iteration_based(make_runner):
    clocks = told(make_runner, 6, False)
    assert clocks == [Clock(i // 4, i, 1.5, 6, i % 4 == 0) for i in range(6)]


@pytest.mark.parametrize('by_epoch', [True, False])
def test_other_models_are_left_alone(make_runner, by_epoch):
    make_runner(NET, 1, by_epoch=by_epoch, validate=False).train()
