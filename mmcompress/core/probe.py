"""Run a model's real forward pass on a demo batch, on a copy that may be taken apart.

The analyzer asks a :class:`Probe` two things: the outputs with their autograd graph (to find
which channels belong together) and the shapes of the outputs (to see that narrowing broke
nothing). Everything happens on a private copy of the model: weights, buffers,
``requires_grad``, training mode and the random state of the caller stay as they are.
"""

from __future__ import annotations

import contextlib
import copy
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from mmengine.model import BaseModel
from mmengine.model.utils import revert_sync_batchnorm
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from .demo_inputs import demo_batch
from .errors import CompressionError
from .narrow import is_narrowable

#: Sides tried in turn until the model's forward pass accepts one. Small first: the graph of
#: channels does not depend on the size, the time does.
SIDES = (64, 128, 224, 256, 512, 32)


@contextlib.contextmanager
def seeded() -> Iterator[None]:
    """Seed Python, NumPy and PyTorch (CPU) inside; their state is put back afterwards."""
    python, numpy = random.getstate(), np.random.get_state()
    try:
        # The default generator alone: forking CUDA's would start a context for nothing.
        with torch.random.fork_rng(devices=[]):
            random.seed(0)
            np.random.seed(0)
            torch.default_generator.manual_seed(0)
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


def working_copy(model: nn.Module) -> nn.Module:
    """A copy of ``model`` in eval mode, every parameter in the autograd graph.

    ``frozen_stages`` re-freezes whenever a backbone changes its mode, gradient checkpointing
    hides what it wraps from autograd, synchronised batch norm may ask for a process group, and
    Torch-Pruning takes the single slope of a PReLU for a single channel; none of the four plays
    a part in the coupling of channels.
    """
    model = revert_sync_batchnorm(copy.deepcopy(model).cpu())
    model.eval()
    for module in model.modules():
        if getattr(module, 'with_cp', False):
            module.with_cp = False
        for name, child in module.named_children():
            if isinstance(child, nn.PReLU) and child.num_parameters == 1:
                setattr(module, name, nn.LeakyReLU(child.weight.item()).eval())
    model.requires_grad_(True)
    # Torch-Pruning switches to eval once more, which would freeze the stages again.
    model.eval = lambda: model
    return model


class Probe:
    """A demo batch and the forward modes that together reach the layers of a model.

    Args:
        model: A working copy (see :func:`working_copy`).
        input_shape: ``(N, C, H, W)`` of the demo batch; ``None`` finds one that works.

    Raises:
        CompressionError: If the forward pass accepts none of the shapes tried.
    """

    def __init__(self, model: nn.Module, input_shape: tuple[int, ...] | None = None) -> None:
        self.failures: list[str] = []
        for shape in [tuple(input_shape)] if input_shape else _shapes(model):
            self.inputs, self.samples = demo_batch(model, shape)
            self.modes, self.unreached = self._find_modes(model)
            if self.modes:
                return
        raise CompressionError(
            f'the forward pass of {type(model).__name__} accepts no demo batch '
            f'({self.failures[-1]}); give `input_shape` a size that the model works on'
        )

    def run(self, model: nn.Module) -> list[Any]:
        """Outputs of ``model``, one entry for each mode, with their autograd graph."""
        return [self._forward(model, mode) for mode in self.modes]

    def signature(self, model: nn.Module) -> list[tuple[int, ...]]:
        """Shapes of all output tensors without their first dimension.

        The first dimension is the batch, or a number of proposals that depends on values.
        """
        with torch.no_grad():
            return [tuple(tensor.shape[1:]) for tensor in tensors_in(self.run(model))]

    def _forward(self, model: nn.Module, mode: str) -> Any:
        if not isinstance(model, BaseModel):
            return model(self.inputs)
        # Some heads write into the samples they are given.
        return model(self.inputs, copy.deepcopy(self.samples), mode=mode)

    def _find_modes(self, model: nn.Module) -> tuple[list[str], list[str]]:
        """The fewest modes that reach every layer, and the layers that none of them reaches."""
        missing = {name: m for name, m in model.named_modules() if is_narrowable(m)}
        total = len(missing)
        modes: list[str] = []
        for mode in ('tensor', 'loss', 'predict') if isinstance(model, BaseModel) else ('tensor',):
            reached: set[nn.Module] = set()
            hooks = [
                m.register_forward_hook(lambda m, *_, seen=reached: seen.add(m))
                for m in missing.values()
            ]
            try:
                with torch.no_grad():
                    self._forward(model, mode)
            except Exception as error:  # whatever a user's model raises on a demo batch
                self.failures.append(f'{mode}: {type(error).__name__}: {error}')
                continue
            finally:
                for hook in hooks:
                    hook.remove()
            if reached:
                modes.append(mode)
                missing = {name: m for name, m in missing.items() if m not in reached}
            if not missing:
                break
        # A pass that reaches hardly anything was stopped by the size of the demo batch.
        return (modes if len(missing) < total else []), sorted(missing)


def tensors_in(output: Any) -> Iterator[Tensor]:
    """Every tensor inside nested lists, dicts and data elements, in a fixed order."""
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, BaseDataElement):
        yield from tensors_in([value for _, value in output.items()])
    elif isinstance(output, dict):
        yield from tensors_in(list(output.values()))
    elif isinstance(output, (list, tuple)):
        for item in output:
            yield from tensors_in(item)


def _shapes(model: nn.Module) -> list[tuple[int, ...]]:
    """Demo shapes worth trying: image channels are those of the first convolution."""
    first = next((m for m in model.modules() if isinstance(m, nn.modules.conv._ConvNd)), None)
    if first is None:
        raise CompressionError(f'{type(model).__name__} has no convolution to compress')
    channels = first.in_channels
    spatial = len(first.kernel_size)
    return [(1, channels, *(side,) * spatial) for side in SIDES]
