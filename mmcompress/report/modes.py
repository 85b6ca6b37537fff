"""Measuring a model without changing it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def evaluating(*models: nn.Module) -> Iterator[None]:
    """Put models into eval mode, and every module back into the mode that it had.

    The flags are set one by one, because ``model.train()`` and ``model.eval()`` are overridden all
    over OpenMMLab: backbones freeze stages there, algorithms of ours may react to them too.
    """
    # An algorithm and its architecture, given together, hold the same modules.
    modules = list(dict.fromkeys(module for model in models for module in model.modules()))
    flags = [module.training for module in modules]
    for module in modules:
        module.training = False
    try:
        yield
    finally:
        for module, flag in zip(modules, flags, strict=True):
            module.training = flag
