"""Hands the runner's clock to the algorithm."""

from __future__ import annotations

import math
from typing import Any

from mmengine.dataset import InfiniteSampler
from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import EpochBasedTrainLoop, Runner

from mmcompress.core.algorithm import CompressionAlgorithm
from mmcompress.core.clock import Clock
from mmcompress.registry import HOOKS


@HOOKS.register_module()
class CompressionHook(Hook):
    """Tells a compression algorithm, before each iteration, how far training is.

    One hook serves every method; with a model that isn't a compression algorithm it does
    nothing.
    """

    # After the hooks that prepare an iteration (learning rate, seeds), before logging.
    priority = 'NORMAL'

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Call ``algorithm.tick``."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        if not isinstance(model, CompressionAlgorithm):
            return
        model.tick(self._clock(runner, batch_idx))

    @staticmethod
    def _clock(runner: Runner, batch_idx: int) -> Clock:
        iteration, length = runner.iter, runner.max_iters
        if isinstance(runner.train_loop, EpochBasedTrainLoop):
            return Clock(runner.epoch, iteration, runner.max_epochs, length, batch_idx == 0)
        loader = runner.train_dataloader
        batches = len(loader)
        if isinstance(loader.sampler, InfiniteSampler):
            # It says how much data there is, of which every rank sees its share.
            batches = math.ceil(batches / get_world_size())
        starts = iteration % batches == 0
        return Clock(iteration // batches, iteration, length / batches, length, starts)
