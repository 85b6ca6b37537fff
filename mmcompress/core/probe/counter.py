"""One forward pass under mmengine's counter of multiply-accumulates."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.analysis import FlopAnalyzer
from torch import Tensor, nn

from .probe import tensors_in

#: What the names of a model's modules begin with in an analysis.
PREFIX = 'model.'


class _Tracing(nn.Module):
    """A model as the tracer wants it: one tensor in, a tuple of tensors out."""

    def __init__(self, model: nn.Module, forward: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.model = model
        self._forward = forward
        self.training = False

    def forward(self, inputs: Tensor) -> tuple[Tensor, ...]:
        # The tracer forgets what no output depends on: an output left out is not counted.
        outputs = tuple(tensors_in(self._forward(inputs)))
        if not outputs:
            raise ValueError(f'{type(self.model).__name__} returned no tensor to trace')
        return outputs


def count(model: nn.Module, inputs: Tensor, forward: Callable[[Tensor], Any]) -> FlopAnalyzer:
    """Trace one forward pass and count it.

    Args:
        model: In eval mode; the hooks that the counter needs are gone afterwards.
        inputs: A batch of images.
        forward: Runs ``model`` on the batch.

    Returns:
        mmengine's analysis, complete. Modules of ``model`` are in it by their names behind
        :data:`PREFIX`.

    Raises:
        ValueError: If the forward pass returns no tensor.
    """
    tracing = _Tracing(model, forward)
    flops = FlopAnalyzer(tracing, (inputs,))
    flops.unsupported_ops_warnings(False)
    flops.uncalled_modules_warnings(False)
    flops.tracer_warnings('none')
    with _without_new_hooks(tracing), torch.no_grad():
        flops.total()
    return flops


@contextmanager
def _without_new_hooks(model: nn.Module) -> Iterator[None]:
    """Drop hooks that were added inside: mmengine leaves its own when a model cannot be traced."""
    hooks = [
        registry
        for module in model.modules()
        for registry in (module._forward_pre_hooks, module._forward_hooks)
    ]
    before = [set(registry) for registry in hooks]
    try:
        yield
    finally:
        for registry, known in zip(hooks, before, strict=True):
            for key in set(registry) - known:
                del registry[key]
