"""The time of a training, and what tells it to an algorithm in a loop that isn't mmengine's."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from mmcompress.core.checks import check_count
from mmcompress.core.errors import CompressionError


@dataclass(frozen=True)
class Clock:
    """The time at the beginning of an iteration.

    An epoch is one pass over the data, also in a loop that counts iterations.

    Attributes:
        epoch: Epochs that are over.
        iteration: Iterations that are over, in all epochs.
        max_epochs: Length of training in epochs; not whole in a loop that counts iterations.
        max_iterations: Length of training in iterations.
        starts_epoch: Whether this iteration is the first of an epoch.
        by_epoch: Whether the training loop counts epochs, and not iterations.
    """

    epoch: int
    iteration: int
    max_epochs: float
    max_iterations: int
    starts_epoch: bool
    by_epoch: bool = True


@dataclass
class _Run:
    """One training: what acts, for how long, and what of it is over."""

    algorithm: Any  # a CompressionAlgorithm, whose module imports this one
    optimizer: Optimizer
    epochs: int
    each: int
    handles: list[RemovableHandle] = field(default_factory=list)
    started: bool = False
    ticked: int = -1
    #: Whether the optimizer is at work, and whether the method acts when it begins.
    moving: bool = False
    acts: bool = False


class Steps(nn.Module):
    """Calls ``start`` and ``tick`` of an algorithm at the times of ``CompressionHook``.

    A step begins with the first forward pass in training mode, and ends when the optimizer has
    moved. Steps that are skipped (by a scaler, in mixed precision) don't count. Copies of the
    algorithm, such as moving averages, do nothing of their own.

    Attributes:
        done: Steps that are over; in the state dict of the algorithm.
    """

    done: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer('done', torch.zeros((), dtype=torch.long))
        # The same on the host: no step waits for a device.
        self._count = 0
        self._loaded = False
        self._run: _Run | None = None

    def begin(
        self, algorithm: nn.Module, optimizer: Any, epochs: int, steps_per_epoch: int
    ) -> Steps:
        """Act on a ``CompressionAlgorithm`` from now on; see its ``step_hooks``."""
        check_count(epochs, 'epochs')
        check_count(steps_per_epoch, 'steps_per_epoch')
        inner = optimizer
        # Lightning's and Accelerate's optimizers call the one inside of them.
        while isinstance(getattr(inner, 'optimizer', None), Optimizer):
            inner = inner.optimizer
        if not isinstance(inner, Optimizer):
            raise CompressionError(
                f'optimizer is a {type(optimizer).__name__}; it has to be a torch.optim.Optimizer'
            )
        self.remove()
        self._run = _Run(algorithm, inner, epochs, steps_per_epoch)
        self._run.handles = [
            algorithm.register_forward_pre_hook(self._before_forward),
            inner.register_step_pre_hook(self._before_step),
            inner.register_step_post_hook(self._after_step),
        ]
        return self

    def remove(self) -> None:
        """Stop counting, and telling the time."""
        for handle in self._run.handles if self._run else ():
            handle.remove()
        self._run = None

    def restart(self) -> None:
        """Begin to count again: another stage of training."""
        self.remove()
        self._set(0)

    def _before_forward(self, module: Any, *_: Any) -> None:
        run = self._run
        if run is None or module is not run.algorithm or not module.training:
            return
        if self._loaded:
            self._set(int(self.done))
            self._loaded = False
            if run.started:
                run.algorithm.settle()
        if not run.started:
            before = len(run.optimizer._optimizer_step_pre_hooks)
            run.algorithm.start(OptimWrapper(run.optimizer))
            run.acts = len(run.optimizer._optimizer_step_pre_hooks) > before
            run.started = True
        if run.moving and run.acts:
            raise CompressionError(
                'optimizer.step was given a closure that runs the model, but '
                f'{type(module).__name__} changes gradients before the optimizer moves; run the '
                'model, and backward(), before optimizer.step() (in Lightning: '
                'automatic_optimization = False)'
            )
        if run.ticked == self._count:
            return  # Gradients of several batches are added up.
        run.ticked = self._count
        total = run.epochs * run.each
        if self._count >= total:
            if self._count == total:
                print_log(
                    f'training goes on behind the {run.epochs} epochs of {run.each} steps that '
                    'step_hooks was told of; the method does nothing more',
                    logger='current',
                    level=logging.WARNING,
                )
            return
        epoch, rest = divmod(self._count, run.each)
        run.algorithm.tick(Clock(epoch, self._count, run.epochs, total, not rest))

    def _before_step(self, *_: Any) -> None:
        if self._run is not None:
            self._run.moving = True

    def _after_step(self, *_: Any) -> None:
        run = self._run
        if run is None:
            return
        run.moving = False
        if run.ticked == self._count:
            self._set(self._count + 1)

    def _set(self, count: int) -> None:
        self._count = count
        self.done.fill_(count)

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
        # Weights of a dense network, or of a runner's training, come without it.
        state_dict.setdefault(f'{prefix}done', self.done.clone())
        super()._load_from_state_dict(state_dict, prefix, *args)
        self._loaded = True

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, '_run': None}
