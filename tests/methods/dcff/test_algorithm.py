"""methods/dcff/algorithm.py: the schedule of fuse steps, through mmengine's runner."""

import itertools
from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS, MODELS

from mmcompress.core import Clock, CompressionError
from mmcompress.methods.dcff import DCFF, FusedConv2d
from mmcompress.methods.dcff.importance import proxies, temperature

NET = dict(type='TinyNet', width=4, dropout=0.5)
HOOKS_OF_A_RUN = ('CompressionHook', 'ReseedHook')


def cfg(**kwargs):
    return dict(type='mmcompress.DCFF', architecture=NET, target_pruning_ratio=0.5, **kwargs)


@HOOKS.register_module(force=True)
class WatchHook(Hook):
    """Notes, after each iteration, whether and how the filters were fused."""

    priority = 'LOWEST'

    def before_train(self, runner):
        self.seen = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        model = runner.model
        op = model.architecture.backbone.conv2
        temp = float(model.fuse_temperature)
        self.seen.append((int(model.fuse_steps), temp, op.proxies.clone()))


def watch(make_runner, model, length, **kwargs):
    """The notes of a whole training, one a step."""
    runner = make_runner(model, length, validate=False, **kwargs)
    hook = WatchHook()
    runner.register_hook(hook)
    runner.train()
    return hook.seen, runner


def changes(seen):
    """Iterations at which the filters were fused; in between, the proxies stay as they are."""
    fused = [0]
    for i, (one, other) in enumerate(itertools.pairwise(seen)):
        if one[0] != other[0]:
            fused.append(i + 1)
        else:
            assert torch.equal(one[2], other[2])
    assert not torch.equal(seen[0][2], seen[-1][2]) or len(fused) == 1
    return fused


@pytest.mark.parametrize(
    ('interval', 'by_epoch', 'expected'),
    [
        (1, True, [0, 4, 8, 12]),
        (2, True, [0, 8]),
        (3, True, [0, 12]),
        (6, False, [0, 6, 12]),
        (2, None, [0, 8]),
    ],
)
def test_epoch_based(make_runner, interval, by_epoch, expected):
    """Four epochs of four iterations."""
    model = cfg(fuse_interval=interval, by_epoch=by_epoch)
    seen, _ = watch(make_runner, model, 4)
    assert len(seen) == 16
    assert changes(seen) == expected
    assert seen[-1][0] == len(expected)
    unit = 1 if by_epoch is False else 4
    total = 16 if by_epoch is False else 4
    for iteration in expected:
        temp = temperature(iteration / unit / interval, total / interval)
        assert seen[iteration][1] == pytest.approx(temp, rel=1e-6)


@pytest.mark.parametrize('by_epoch', [False, None])
@pytest.mark.parametrize(
    ('interval', 'expected'), [(1, [0, 1, 2, 3, 4, 5, 6]), (3, [0, 3, 6]), (5, [0, 5])]
)
def test_iteration_based(make_runner, interval, expected, by_epoch):
    model = cfg(fuse_interval=interval, by_epoch=by_epoch)
    seen, _ = watch(make_runner, model, 7, by_epoch=False)
    assert len(seen) == 7
    assert changes(seen) == expected
    assert [count for count, *_ in seen] == [sum(e <= i for e in expected) for i in range(7)]
    for iteration in expected:
        temp = temperature(iteration / interval, 7 / interval)
        assert seen[iteration][1] == pytest.approx(temp, rel=1e-6)


def test_epochs_in_a_loop_that_counts_iterations(make_runner):
    """Four iterations see all the data once."""
    seen, _ = watch(make_runner, cfg(), 7, by_epoch=False)
    assert changes(seen) == [0, 4]
    assert seen[4][1] == pytest.approx(temperature(1, 7 / 4), rel=1e-6)


@pytest.mark.parametrize(
    ('times', 'expected'), [(1, [0]), (3, [0, 5, 10]), (4, [0, 4, 8, 12]), (5, [0, 3, 6, 9, 12])]
)
def test_a_number_of_fuse_steps(make_runner, times, expected):
    """At equal intervals of whole iterations, none in the rest of 16."""
    seen, _ = watch(make_runner, cfg(fuse_times=times), 4)
    assert changes(seen) == expected
    assert seen[-1][0] == times
    for step, iteration in enumerate(expected):
        assert seen[iteration][1] == pytest.approx(temperature(step, times), rel=1e-6)


def test_more_fuse_steps_than_iterations(make_runner):
    runner = make_runner(cfg(fuse_times=17), 4, validate=False)
    with pytest.raises(CompressionError, match='fuse_times is 17, but training lasts 16 iter'):
        runner.train()


@pytest.mark.parametrize(('times', 'interval'), [(0, 1), (2.5, 1), (True, 1), (4, 2)])
def test_fuse_times_is_a_number_and_alone(times, interval):
    with pytest.raises(CompressionError, match=f'fuse_times is {times!r}'):
        MODELS.build(cfg(fuse_times=times, fuse_interval=interval))


def test_an_interval_longer_than_training(make_runner):
    runner = make_runner(cfg(fuse_interval=3), 3, validate=False)
    with pytest.raises(CompressionError, match='fuse_interval is 3, but training lasts 3 epochs'):
        runner.train()


@pytest.mark.parametrize('value', ['yes', 1])
def test_by_epoch_is_a_bool(value):
    with pytest.raises(CompressionError, match=f'by_epoch is {value!r}'):
        MODELS.build(cfg(by_epoch=value))


def test_proxies_are_of_the_filters_at_the_fuse_step():
    model = MODELS.build(cfg())
    op = model.architecture.backbone.conv1
    weight = op.weight.detach().clone()
    model.tick(Clock(0, 0, 10, 40, True))
    torch.testing.assert_close(op.proxies, proxies(weight, 1.0, 2)[0])
    model.tick(Clock(0, 1, 10, 40, False))
    assert model.fuse_steps == 1
    model.tick(Clock(1, 4, 10, 40, True))
    assert model.fuse_steps == 2
    torch.testing.assert_close(
        op.proxies, proxies(weight, temperature(1, 10), 2)[0], rtol=1e-5, atol=1e-6
    )


def test_without_the_hook_nothing_is_trained(make_runner):
    runner = make_runner(cfg(), 1, hooks=('ReseedHook',), validate=False)
    with pytest.raises(CompressionError, match='mmcompress.CompressionHook'):
        runner.train()


def test_a_checkpoint_evaluates_to_the_same_numbers(make_runner):
    _, runner = watch(make_runner, cfg(), 2)
    trained = runner.model.eval()
    x = torch.randn(4, 3, 8, 8)
    fresh = MODELS.build(cfg()).eval()
    assert not torch.equal(fresh(x), trained(x))
    file = torch.load(Path(runner.work_dir) / 'epoch_2.pth')
    fresh.load_state_dict(file['state_dict'], strict=True)
    assert torch.equal(fresh(x), trained(x))
    assert fresh.fuse_steps == 2
    assert fresh.fuse_temperature == trained.fuse_temperature > 1
    for one, other in zip(fresh.modules(), trained.modules(), strict=True):
        if isinstance(one, FusedConv2d):
            assert torch.equal(one.proxies, other.proxies)
            assert torch.equal(one.importance, other.importance)


def test_all_filters_are_trained(make_runner):
    runner = make_runner(cfg(), 1, validate=False)
    before = {key: value.clone() for key, value in runner.model.state_dict().items()}
    runner.train()
    for name in ('conv1', 'conv2'):
        key = f'architecture.backbone.{name}.weight'
        moved = (runner.model.state_dict()[key] != before[key]).flatten(1).any(dim=1)
        assert moved.all()


def test_widths_are_compact_from_the_start():
    model = MODELS.build(cfg())
    backbone = model.architecture.backbone
    assert backbone.conv1.proxies.shape == (2, 4)
    assert backbone.bn1.num_features == 2
    assert backbone.conv2.weight.shape == (8, 2, 3, 3)
    assert model.architecture.head.in_features == 4
    assert model(torch.randn(2, 3, 8, 8)).shape == (2, 4)


@pytest.mark.parametrize('interval', [0, -1, 1.0, '1', True, None])
def test_a_bad_interval(interval):
    with pytest.raises(CompressionError, match='fuse_interval is .*positive integer'):
        MODELS.build(cfg(fuse_interval=interval))


def test_the_mutator_is_its_own_by_default():
    model = MODELS.build(cfg())
    assert type(model) is DCFF
    assert type(model.mutator).__name__ == 'DCFFMutator'
    keys = set(model.state_dict())
    assert {'fuse_steps', 'fuse_temperature'} <= keys
    assert not any(key.startswith('mutator') for key in keys)
