"""Hands the runner's clock to the algorithm."""

from __future__ import annotations

from typing import Any

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
        by_epoch = isinstance(runner.train_loop, EpochBasedTrainLoop)
        model.tick(
            Clock(
                epoch=runner.epoch,
                iteration=runner.iter,
                max_epochs=runner.max_epochs,
                max_iterations=runner.max_iters,
                by_epoch=by_epoch,
                starts_epoch=batch_idx == 0,
            )
        )
