"""Measures what training steps cost."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from mmcompress.registry import HOOKS

#: What Linux says about this process.
STATUS = Path('/proc/self/status')


@HOOKS.register_module()
class CostHook(Hook):
    """Writes time and memory of the steps of a training to ``cost.json`` in the work dir.

    The file holds ``seconds``, one number a step without the loading of its data: those of the
    clock, or of the processor, if other programs had that in between. And in bytes: ``weights``,
    the parameters that are trained; ``saved``, what the first step's forward pass keeps for its
    backward pass; ``peak``, the most main memory that the process has had up to the last step, or
    None where the system isn't Linux.
    """

    # Behind hooks that prepare an epoch: what these do is no part of a step.
    priority = 'VERY_LOW'

    def before_train(self, runner: Runner) -> None:
        """Start anew."""
        self._seconds: list[float] = []
        self._saved = SavedBytes(runner.model)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Start the clock."""
        if not self._seconds:
            self._saved.__enter__()
        self._started = time.perf_counter(), time.process_time()

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Stop the clock."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()  # steps run on when their call is over
        clock, processor = self._started
        seconds = time.perf_counter() - clock
        if not torch.cuda.is_available():
            seconds = min(seconds, time.process_time() - processor)
        if not self._seconds:
            self._saved.__exit__()
        self._seconds.append(seconds)
        self._peak = peak()

    @master_only
    def after_train(self, runner: Runner) -> None:
        """Write the file."""
        trained = (p for p in runner.model.parameters() if p.requires_grad)
        content = dict(
            seconds=self._seconds,
            weights=sum(p.numel() * p.element_size() for p in trained),
            saved=self._saved.total,
            peak=self._peak if self._seconds else None,
        )
        Path(runner.work_dir, 'cost.json').write_text(json.dumps(content), encoding='utf-8')


class SavedBytes(saved_tensors_hooks):
    """Counts what autograd keeps while it is entered, besides the tensors of a model.

    Args:
        model: Its parameters and buffers don't count.

    Attributes:
        total: Bytes of all storages, each once.
    """

    def __init__(self, model: nn.Module) -> None:
        self.total = 0
        own = (*model.parameters(), *model.buffers())
        self._seen = {tensor.untyped_storage().data_ptr() for tensor in own}
        super().__init__(self._pack, lambda tensor: tensor)

    def _pack(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._seen:
            self._seen.add(storage.data_ptr())
            self.total += storage.nbytes()
        return tensor


def peak() -> int | None:
    """The most main memory that this process has had, in bytes."""
    if not STATUS.is_file():
        return None
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith('VmHWM'))
    return int(line.split()[1]) * 1024
