"""Shapes of feature maps in a model's own forward pass."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from .example import Demo
from .probe import Probe, few_proposals, seeded, working_copy

#: Of what a module takes and of what it gives; ``None`` where that is no tensor.
Shapes = tuple[torch.Size | None, torch.Size | None]


def shapes_in(
    model: nn.Module, names: Iterable[str], input_shape: Demo = None
) -> dict[str, list[Shapes]]:
    """Shapes that modules take and give, once for every time they run.

    Args:
        model: Any architecture; left as it is.
        names: Of the modules to look at.
        input_shape: ``(N, C, H, W)`` of the demo batch; ``None`` finds one.

    Returns:
        Pairs by name, of the modules that run.

    Raises:
        CompressionError: If no forward pass can be run.
    """
    seen: dict[str, list[Shapes]] = defaultdict(list)
    with seeded(), warnings.catch_warnings():
        warnings.simplefilter('ignore')
        work = few_proposals(working_copy(model))
        with torch.enable_grad():
            probe = Probe(work, input_shape)
        modules = {work.get_submodule(name): name for name in names}

        def note(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            taken = inputs[0] if inputs else None
            shapes = [x.shape if isinstance(x, Tensor) else None for x in (taken, output)]
            seen[modules[module]].append((shapes[0], shapes[1]))

        hooks = [module.register_forward_hook(note) for module in modules]
        try:
            with torch.no_grad():
                probe.run(work)
        finally:
            for hook in hooks:
                hook.remove()
    return dict(seen)
