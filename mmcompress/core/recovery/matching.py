"""Training without labels: what the blocks of a network put out becomes that of the dense one."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from mmcompress.core.probe.probe import tensors_in

from .moments import Forward


def blocks_of(model: nn.Module) -> list[str]:
    """Names of the blocks that are compared: outermost items of sequences with 2 convolutions."""
    found: list[str] = []
    for name, module in model.named_modules():
        if not isinstance(module, (nn.Sequential, nn.ModuleList)):
            continue
        if any(f'{name}.'.startswith(f'{block}.') for block in found):
            continue
        for child, block in module.named_children():
            convolutions = sum(isinstance(m, _ConvNd) for m in block.modules())
            if convolutions > 1 and not isinstance(block, (nn.Sequential, nn.ModuleList)):
                found.append(f'{name}.{child}' if name else child)
    return found


class Features:
    """What blocks, and the network as a whole, put out for a batch.

    Args:
        model: The network.
        names: Of its blocks.
        forward: Runs it on a batch.
    """

    def __init__(self, model: nn.Module, names: Sequence[str], forward: Forward) -> None:
        self.model, self.names, self.forward = model, names, forward

    def __call__(self, batch: Any) -> list[Tensor]:
        """Tensors of floating point, those of the blocks first."""
        seen: dict[str, list[Tensor]] = {}

        def watch(name: str) -> Callable[..., None]:
            return lambda _, __, out: seen.setdefault(name, []).extend(tensors_in(out))

        hooks = [
            self.model.get_submodule(name).register_forward_hook(watch(name)) for name in self.names
        ]
        try:
            last = tensors_in(self.forward(self.model, batch))
        finally:
            for hook in hooks:
                hook.remove()
        found = [*(tensor for name in self.names for tensor in seen.get(name, [])), *last]
        return [tensor for tensor in found if tensor.is_floating_point()]


def match(
    model: nn.Module,
    dense: nn.Module,
    batches: Sequence[Any],
    forward: Forward,
    steps: int,
    rate: float = 3e-4,
    seed: int = 0,
    advance: Callable[[], None] = lambda: None,
) -> float:
    """Train so that features come near those of the dense network.

    The loss is the mean over the features of ``||a - b||^2 / ||b||^2``. Adam takes the steps, with
    a rate that falls to zero along a cosine. Norms keep their statistics meanwhile.

    Args:
        model: Trained in place.
        dense: The network that it was.
        batches: What a step takes, in an order that ``seed`` shuffles.
        forward: Runs a network on a batch.
        steps: How many.
        rate: Learning rate of the first step.
        seed: Of the order.
        advance: Called after each step.

    Returns:
        The loss of the last tenth of the steps, on average.
    """
    names = blocks_of(dense)
    model.eval()
    own, theirs = Features(model, names, forward), Features(dense.eval(), names, forward)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(parameters, lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    generator = torch.Generator().manual_seed(seed)
    order: list[int] = []
    losses: list[float] = []
    for _ in range(steps):
        order = order or torch.randperm(len(batches), generator=generator).tolist()
        batch = batches[order.pop()]
        with torch.no_grad():
            wanted = theirs(batch)
        with torch.enable_grad():
            parts = [
                (a - b).square().sum() / b.square().sum().clamp_min(1e-12)
                for a, b in zip(own(batch), wanted, strict=True)
                if a.shape == b.shape
            ]
            loss = torch.stack(parts).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
        advance()
    last = losses[-math.ceil(len(losses) / 10) :]
    return sum(last) / len(last)
