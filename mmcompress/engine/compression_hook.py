"""Hands the runner's clock to the algorithm."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from mmengine.dataset import InfiniteSampler
from mmengine.dist import get_world_size, is_main_process
from mmengine.hooks import EMAHook, Hook
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch import nn

from mmcompress.core.base.algorithm import PROGRESS, Clock, CompressionAlgorithm
from mmcompress.core.base.budget import FOUND
from mmcompress.core.export.checkpoint import load_teacher
from mmcompress.registry import HOOKS


@HOOKS.register_module()
class CompressionHook(Hook):
    """Tells a compression algorithm, before each iteration, how far training is.

    One hook serves every method; with a model that isn't a compression algorithm it does
    nothing. After each pass over the data the algorithm's progress goes to the log, to the
    visualizer, and as a line of JSON to ``progress.jsonl`` in the run's log folder.
    """

    # After the hooks that prepare an iteration (learning rate, seeds), and after EMAHook.
    priority = 'BELOW_NORMAL'

    def before_train(self, runner: Runner) -> None:
        """Call ``algorithm.start``: weights, optimizer and schedules are as training needs them.

        A teacher is loaded before.
        """
        algorithm = algorithm_of(runner.model)
        if algorithm:
            load_teacher(algorithm)
            algorithm.start(runner.optim_wrapper)

    def before_val(self, runner: Runner) -> None:
        """Call ``algorithm.settle``, if weights are loaded: what they say is evaluated."""
        algorithm = algorithm_of(runner.model)
        if algorithm and algorithm.loaded:
            algorithm.settle()

    def before_test(self, runner: Runner) -> None:
        """As before validation."""
        self.before_val(runner)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Call ``algorithm.tick``."""
        algorithm = algorithm_of(runner.model)
        if algorithm:
            algorithm.tick(_clock(runner, runner.iter))

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """After each pass over the data, and at the end, write down how far the method is.

        Moving averages of the model get the method's own buffers as they are: there is no average
        of two choices.
        """
        algorithm = algorithm_of(runner.model)
        if algorithm:
            for hook in runner.hooks:
                if isinstance(hook, EMAHook) and hook.ema_model.update_buffers:
                    _copy_own(algorithm, algorithm_of(hook.ema_model))
        done = runner.iter + 1
        if not algorithm or not (done == runner.max_iters or _clock(runner, done).starts_epoch):
            return
        progress = algorithm.progress()
        if progress and is_main_process():
            self._write(runner, dict(epoch=_clock(runner, done).epoch, iteration=done, **progress))

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Keep the widths of a budget of time in the checkpoint; other machines find others."""
        algorithm = algorithm_of(runner.model)
        if algorithm and algorithm.mutator.found:
            checkpoint.setdefault('meta', {})[FOUND] = algorithm.mutator.found

    @staticmethod
    def _write(runner: Runner, progress: dict[str, Any]) -> None:
        numbers = {k: v for k, v in progress.items() if isinstance(v, (int, float))}
        shown = '  '.join(f'{key}: {value:.4g}' for key, value in numbers.items())
        runner.logger.info(f'Compression  {shown}')
        runner.visualizer.add_scalars(numbers, step=progress['iteration'])
        with open(Path(runner.log_dir, PROGRESS), 'a', encoding='utf-8') as file:
            file.write(json.dumps(progress) + '\n')


def algorithm_of(model: nn.Module) -> CompressionAlgorithm | None:
    """The algorithm that a runner trains, which may be inside of another (a distiller's student).

    Args:
        model: The runner's model, with or without a distributed wrapper.
    """
    return next((m for m in model.modules() if isinstance(m, CompressionAlgorithm)), None)


@torch.no_grad()
def _copy_own(algorithm: CompressionAlgorithm, averaged: Any) -> None:
    """Copy what the method has chosen and counted into a moving average of the algorithm."""
    for one, other in zip(algorithm.own_buffers(), averaged.own_buffers(), strict=True):
        other.copy_(one)


def _clock(runner: Runner, iteration: int) -> Clock:
    """The time before some iteration."""
    length = runner.max_iters
    if isinstance(runner.train_loop, EpochBasedTrainLoop):
        batches = len(runner.train_dataloader)
        starts = iteration % batches == 0
        return Clock(iteration // batches, iteration, runner.max_epochs, length, starts)
    loader = runner.train_dataloader
    batches = len(loader)
    if isinstance(loader.sampler, InfiniteSampler):
        # It says how much data there is, of which every rank sees its share.
        batches = math.ceil(batches / get_world_size())
    starts = iteration % batches == 0
    return Clock(iteration // batches, iteration, length / batches, length, starts, by_epoch=False)
