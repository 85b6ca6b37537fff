"""Makes a resumed training equal to one that was never stopped."""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from mmengine.dataset import InfiniteSampler
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner

from mmcompress.registry import HOOKS


@HOOKS.register_module()
class ReseedHook(Hook):
    """Makes every random number a function of the seed and of where training stands.

    mmengine restores weights, optimizer and schedules on resume, but starts all random
    generators over: augmentation and dropout of the epochs that follow differ from those of
    an uninterrupted run, and so does the order of the data when no seed was configured. This
    hook seeds Python, NumPy and PyTorch at the beginning of every epoch (in iteration-based
    loops: of every iteration) from the run's seed, which checkpoints carry, and gives the
    sampler that seed too.

    In epoch-based loops it also seeds the worker processes that a data loader starts for every
    epoch. mmengine gives those the same seed each time, so that without the hook every epoch
    draws the same random numbers for its augmentation. Persistent workers are started once and
    are out of reach after that: for bit-identical resumes use ``num_workers=0`` or
    ``persistent_workers=False``.
    """

    # Before every hook that might draw random numbers.
    priority = 'VERY_HIGH'

    def before_train(self, runner: Runner) -> None:
        """Give sampler and workers the seed of the run (after a resume: of the resumed run)."""
        loop = runner.train_loop
        loader = loop.dataloader
        sampler: Any = getattr(loader, 'sampler', None)
        if getattr(sampler, 'seed', runner.seed) == runner.seed:
            return
        sampler.seed = runner.seed
        _seed_workers(loader, runner.seed)
        if loader.num_workers and hasattr(loop, 'dataloader_iterator'):
            # Its workers have begun to fetch what the other seed chose.
            if isinstance(sampler, InfiniteSampler):
                sampler.indices = sampler._indices_of_rank()
            loader._iterator = None  # where the loader keeps persistent workers
            loop.dataloader_iterator = type(loop.dataloader_iterator)(loader)

    def before_train_epoch(self, runner: Runner) -> None:
        """Seed for an epoch; in iteration-based loops, for the first iteration to come."""
        if isinstance(runner.train_loop, EpochBasedTrainLoop):
            _seed(runner.seed, runner.epoch)
            # Workers add their number and that of their process, hence no rank and a bit to spare.
            state = np.random.SeedSequence([runner.seed, runner.epoch]).generate_state(4)[3]
            _seed_workers(runner.train_loop.dataloader, int(state) >> 1)
            return
        _seed(runner.seed, runner.iter)
        if runner.iter:
            # On resume the loop first skips the batches that have been trained on; the one
            # after them has to find the generators as the uninterrupted run did.
            loop = runner.train_loop
            loop.dataloader_iterator = _SeedAfter(
                loop.dataloader_iterator, runner.iter, runner.seed
            )

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """In iteration-based loops, seed for the next iteration and its batch."""
        if not isinstance(runner.train_loop, EpochBasedTrainLoop):
            _seed(runner.seed, runner.iter + 1)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """In iteration-based loops, undo what validation drew: a resumed run skips it."""
        if not isinstance(runner.train_loop, EpochBasedTrainLoop):
            _seed(runner.seed, runner.iter)


class _SeedAfter:
    """An iterator over batches that seeds once, after ``count`` of them."""

    def __init__(self, batches: Iterator[Any], count: int, seed: int) -> None:
        self.batches, self.left, self.count, self.seed = batches, count, count, seed

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        batch = next(self.batches)
        if self.left:
            self.left -= 1
            if not self.left:
                _seed(self.seed, self.count)
        return batch


def _seed_workers(loader: Any, seed: int) -> None:
    """Have the workers that the loader will start seeded with another number."""
    start_worker = getattr(loader, 'worker_init_fn', None)
    if isinstance(start_worker, partial) and 'seed' in start_worker.keywords:
        loader.worker_init_fn = partial(start_worker, seed=seed)


def _seed(seed: int, step: int) -> None:
    """Seed all generators; neighbouring seeds, steps and ranks share nothing."""
    states = np.random.SeedSequence([seed, step, get_rank()]).generate_state(3)
    random.seed(int(states[0]))
    np.random.seed(int(states[1]))
    torch.manual_seed(int(states[2]))
