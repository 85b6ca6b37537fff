"""The unit of magnitude pruning."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mmcompress.core.channels.choose import keep_largest
from mmcompress.core.channels.config import ChannelRange, UnitConfig
from mmcompress.core.channels.gate import Gate, GatedUnit
from mmcompress.registry import MODELS

from .op import GatedConv2d


@MODELS.register_module()
class MagnitudeUnit(GatedUnit):
    """Channels with one mask, which silences those that are removed.

    Args:
        config: The channels, as the analyzer found them.
        choice: Keep ratio in (0, 1].
        divisor: The width has to be a multiple of this number.
        by_rank: Whether the mask says how many channels stay, once it is set, and not ``choice``.
        **kwargs: ``norms`` of :class:`~mmcompress.core.channels.gate.GatedUnit`.
    """

    op_type = GatedConv2d

    def __init__(
        self,
        config: UnitConfig,
        choice: float = 1.0,
        divisor: int | str = 1,
        *,
        by_rank: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(config, choice, divisor, **kwargs)
        self.by_rank = by_rank
        self.gates: list[Gate] = []

    def prepare(self, architecture: nn.Module) -> list[ChannelRange]:
        """Swap convolutions and norms for ops, and note the norms behind the convolutions."""
        ranges = super().prepare(architecture)
        behind = {self.norms.get(channel.name) for channel in self.filters(architecture)}
        self.gates = [op for n, op in self.places.items() if n in behind and isinstance(op, Gate)]
        return ranges

    @property
    def width(self) -> int:
        """How many channels stay; by rank, all until the ranking has been made."""
        if self.by_rank and self.op is not None:
            return int(self.op.mask.sum())
        return super().width

    @property
    def weights(self) -> Tensor:
        """``Tensor[n, d]``: all weights of each channel, of every convolution that makes it."""
        return torch.cat([op.weight.detach().flatten(1) for op in self.ops], 1)

    @property
    def gradients(self) -> Tensor:
        """``Tensor[n, d]``: their gradients; zero where there are none."""
        given = [
            torch.zeros_like(op.weight) if op.weight.grad is None else op.weight.grad
            for op in self.ops
        ]
        return torch.cat([gradient.flatten(1) for gradient in given], 1)

    @property
    def norm_weights(self) -> list[Tensor]:
        """``Tensor[n]`` of each norm directly behind a convolution, where it has weights."""
        found = [getattr(gate.norm, 'weight', None) for gate in self.gates]
        return [weight.detach() for weight in found if isinstance(weight, Tensor)]

    @torch.no_grad()
    def prune(self, scores: Tensor, width: int) -> None:
        """Silence all channels but those of the largest scores. What is silent stays so.

        Args:
            scores: ``Tensor[n]``.
            width: How many stay, no more than there are; equally many of each group.
        """
        mask = self.op.mask
        rows = scores.masked_fill(mask == 0, -torch.inf).view(self.groups, -1)
        mask.copy_(keep_largest(rows, width // self.groups).flatten())
