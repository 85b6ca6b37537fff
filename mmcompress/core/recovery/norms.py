"""Statistics of batch norms that fit the network as it is now."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from .moments import Forward


@torch.no_grad()
def estimate_norms(model: nn.Module, batches: Iterable[Any], forward: Forward) -> int:
    """Replace the running statistics of all batch norms by those of some batches.

    Each is the mean over the batches, which have equally many images.

    Args:
        model: Changed in place; in eval mode afterwards.
        batches: Several images each.
        forward: Runs the model on a batch.

    Returns:
        How many norms there are.
    """
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    momenta = [norm.momentum for norm in norms]
    model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    try:
        for batch in batches:
            forward(model, batch)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        model.eval()
    return len(norms)
