"""engine/compression_hook.py: the time that an algorithm is told."""

import json
from pathlib import Path

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
    assert clocks == [Clock(i // 4, i, 1.5, 6, i % 4 == 0, False) for i in range(6)]


@pytest.mark.parametrize('by_epoch', [True, False])
def test_other_models_are_left_alone(make_runner, by_epoch):
    make_runner(NET, 1, by_epoch=by_epoch, validate=False).train()


@MODELS.register_module(force=True)
class TellsProgress(DCFF):
    """Progress that counts iterations."""

    def start(self, optim_wrapper):
        super().start(optim_wrapper)
        self.started_with = optim_wrapper

    def progress(self):
        return dict(done=self._clock.iteration + 1, names=[1, 2])


def progress_lines(runner):
    file = Path(runner.log_dir) / 'progress.jsonl'
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


TELLS = dict(type='TellsProgress', architecture=NET, target_pruning_ratio=0.5)


@pytest.mark.parametrize(
    ('by_epoch', 'length', 'expected'),
    [
        (True, 2, [(1, 4), (2, 8)]),
        (False, 8, [(1, 4), (2, 8)]),
        (False, 6, [(1, 4), (1, 6)]),  # and at the end, wherever that is
        (False, 3, [(0, 3)]),
    ],
)
def test_progress_after_each_pass(make_runner, by_epoch, length, expected):
    """Four iterations see all the data once."""
    runner = make_runner(TELLS, length, by_epoch=by_epoch, validate=False)
    runner.train()
    assert progress_lines(runner) == [
        dict(epoch=epoch, iteration=done, done=done, names=[1, 2]) for epoch, done in expected
    ]
    scalars = next(Path(runner.work_dir).glob('*/vis_data/scalars.json')).read_text()
    shown = [json.loads(line) for line in scalars.splitlines() if '"done"' in line]
    assert [line['step'] for line in shown] == [done for _, done in expected]
    assert all('names' not in line for line in shown)


@pytest.mark.parametrize(
    ('by_epoch', 'length', 'stop', 'expected'),
    [(True, 3, 1, [8, 12]), (False, 9, 3, [4, 8, 9]), (False, 9, 4, [8, 9])],
)
def test_progress_after_a_resume(make_runner, by_epoch, length, stop, expected):
    runner = make_runner(TELLS, length, by_epoch=by_epoch, validate=False, seed=1)
    runner.train()
    name = f'{"epoch" if by_epoch else "iter"}_{stop}.pth'
    resumed = make_runner(
        TELLS, length, by_epoch, resume=Path(runner.work_dir, name), validate=False, seed=1
    )
    resumed.train()
    assert [line['iteration'] for line in progress_lines(resumed)] == expected


def test_started_once_with_the_optimizer(make_runner):
    runner = make_runner(TELLS, 1, validate=False)
    runner.train()
    assert runner.model.started_with is runner.optim_wrapper


def test_no_progress_no_file(make_runner):
    runner = make_runner(dict(TELLS, type='mmcompress.LinearConv'), 1, validate=False)
    runner.train()
    assert not list(Path(runner.work_dir).rglob('progress.jsonl'))


@MODELS.register_module(force=True)
class NotesSettling(DCFF):
    """Counts how often it is to settle."""

    def settle(self):
        super().settle()
        self.settled = getattr(self, 'settled', 0) + 1


SETTLES = dict(type='NotesSettling', architecture=NET, target_pruning_ratio=0.5)


def test_settled_before_training_and_each_validation(make_runner):
    runner = make_runner(SETTLES, 2, validate=False)
    runner.train()
    assert runner.model.settled == 1
    trained = runner.model.state_dict()
    runner = make_runner(SETTLES, 2)
    runner.model.load_state_dict(trained)
    assert not hasattr(runner.model, 'settled'), 'loading settles nothing'
    runner.train()
    assert runner.model.settled == 3


def test_what_has_loaded_nothing_is_evaluated_as_it_is(make_runner):
    runner = make_runner(SETTLES, 2)
    runner.val_loop.run()
    assert not hasattr(runner.model, 'settled')
