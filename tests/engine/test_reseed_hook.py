"""engine/reseed_hook.py: a resumed training equals one that was never stopped, bit for bit."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from mmcompress.engine import ReseedHook
from mmcompress.engine.reseed_hook import _seed

NET = dict(type='TinyNet', width=4, dropout=0.5)
DCFF = dict(type='mmcompress.DCFF', architecture=NET, target_pruning_ratio=0.5)
RESEED, NONE = ('CompressionHook', 'ReseedHook'), ('CompressionHook',)


def train_twice(make_runner, model, by_epoch, stop, seed, hooks=RESEED, **kwargs):
    """States after a whole training, and after one resumed at ``stop``."""
    length = 3 if by_epoch else 7
    states = []
    resume = None
    for _ in range(2):
        np.random.seed(len(states))  # what an unconfigured seed is drawn from
        runner = make_runner(
            model, length, by_epoch, resume=resume, seed=seed, hooks=hooks, **kwargs
        )
        runner.train()
        name = f'epoch_{length}.pth' if by_epoch else f'iter_{length}.pth'
        file = torch.load(Path(runner.work_dir) / name)
        states.append((file['state_dict'], file['optimizer']))
        resume = Path(runner.work_dir) / name.replace(str(length), str(stop))
    return states


def flat(tree):
    if isinstance(tree, dict):
        tree = list(tree.values())
    if isinstance(tree, (list, tuple)):
        return list(itertools.chain.from_iterable(map(flat, tree)))
    return [torch.as_tensor(tree if tree is not None else -1)]


def same(first, second):
    ones, others = flat(first), flat(second)
    assert len(ones) == len(others)
    return all(torch.equal(one, other) for one, other in zip(ones, others, strict=True))


@pytest.mark.parametrize('model', [NET, DCFF], ids=['dense', 'dcff'])
@pytest.mark.parametrize('seed', [None, 5])
@pytest.mark.parametrize(('by_epoch', 'stop'), [(True, 1), (False, 3), (False, 4)])
def test_resumed_equals_uninterrupted(make_runner, model, seed, by_epoch, stop):
    whole, resumed = train_twice(make_runner, model, by_epoch, stop, seed)
    assert same(whole, resumed)


@pytest.mark.parametrize('by_epoch', [True, False])
@pytest.mark.parametrize('seed', [None, 5])
def test_without_the_hook_they_differ(make_runner, seed, by_epoch):
    whole, resumed = train_twice(make_runner, NET, by_epoch, 2, seed, NONE)
    assert not same(whole[0], resumed[0])


def test_with_the_default_sampler_in_an_iteration_based_loop(make_runner, monkeypatch):
    """Its epochs end inside the loop: three batches each, resumed in the second and third."""
    monkeypatch.setattr('time.sleep', lambda seconds: None)
    from mmengine.dataset import sampler

    monkeypatch.setattr(sampler.InfiniteSampler, '__iter__', sampler.DefaultSampler.__iter__)
    monkeypatch.setattr(sampler.InfiniteSampler, 'set_epoch', sampler.DefaultSampler.set_epoch)
    monkeypatch.setattr(sampler.InfiniteSampler, 'round_up', True, raising=False)
    monkeypatch.setattr(sampler.InfiniteSampler, 'num_samples', 6, raising=False)
    monkeypatch.setattr(sampler.InfiniteSampler, 'total_size', 6, raising=False)
    monkeypatch.setattr(sampler.InfiniteSampler, 'epoch', 0, raising=False)
    for stop in (2, 3, 6):
        whole, resumed = train_twice(make_runner, NET, False, stop, None, images=6)
        assert same(whole, resumed)


@pytest.mark.parametrize('seed', [None, 5])
@pytest.mark.parametrize(('by_epoch', 'persistent'), [(True, False), (False, True)])
def test_workers(make_runner, seed, by_epoch, persistent):
    whole, resumed = train_twice(
        make_runner, NET, by_epoch, 2, seed, workers=1, persistent=persistent, validate=False
    )
    assert same(whole, resumed)


def test_fresh_workers_draw_other_numbers_in_each_epoch(make_runner):
    """A resumed epoch draws what that of the uninterrupted run drew."""
    drawn, resume = [], None
    for first in (0, 1):
        runner = make_runner(NET, 2, resume=resume, seed=5, workers=1, validate=False)
        runner.train_loop.dataloader.dataset.images.zero_()  # leaves what the worker drew
        step, epochs = runner.model.train_step, {}

        def train_step(data, optim_wrapper, runner=runner, step=step, epochs=epochs):
            epochs.setdefault(runner.epoch, []).extend(float(i.mean()) for i in data['inputs'])
            return step(data, optim_wrapper)

        runner.model.train_step = train_step
        runner.train()
        assert list(epochs) == [0, 1][first:]
        drawn.append(epochs)
        resume = Path(runner.work_dir) / 'epoch_1.pth'
    whole, resumed = drawn
    assert not set(whole[0]) & set(whole[1])
    assert resumed[1] == whole[1]


def test_epochs_differ_from_each_other(make_runner):
    runner = make_runner(NET, 1, seed=5)
    hook = next(h for h in runner.hooks if isinstance(h, ReseedHook))
    drawn = []
    for epoch in (0, 1):
        runner.train_loop._epoch = epoch
        hook.before_train_epoch(runner)
        drawn.append((float(torch.rand(())), float(np.random.rand())))
    assert drawn[0] != drawn[1]


def test_neighbouring_seeds_and_steps_share_nothing(rng_state):
    states = []
    for seed, step in itertools.product((0, 1, 2), repeat=2):
        _seed(seed, step)
        states.append(repr(rng_state()))
    assert len(set(states)) == 9
    _seed(2, 2)
    assert repr(rng_state()) == states[-1]
