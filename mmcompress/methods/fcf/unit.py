"""The unit of FCF."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from mmcompress.core.channels.config import ChannelRange, UnitConfig
from mmcompress.core.channels.gate import GatedUnit
from mmcompress.registry import MODELS

from .op import FactorizedConv2d


@MODELS.register_module()
class FCFUnit(GatedUnit):
    """Filters with one vector of scalars: those of a channel unit, or of one convolution.

    Args:
        config: The channels, as the analyzer found them.
        choice: Keep ratio in (0, 1].
        divisor: The width has to be a multiple of this number.
        scale: What the scalars multiply: ``'output'`` of the norm, or ``'weight'``.
        **kwargs: ``norms`` of :class:`~mmcompress.core.channels.gate.GatedUnit`.
    """

    op_type = FactorizedConv2d

    def __init__(
        self,
        config: UnitConfig,
        choice: float = 1.0,
        divisor: int | str = 1,
        *,
        scale: str = 'output',
        **kwargs: Any,
    ) -> None:
        super().__init__(config, choice, divisor, **kwargs)
        self.scale = scale

    @property
    def asked(self) -> int:
        """The width that the keep ratio asks for; a checkpoint may have brought another."""
        return super().width

    @property
    def width(self) -> int:
        """The number k of filters to keep; 0 while weights are to decide it."""
        return super().width if self.op is None else int(self.op.keep)

    @width.setter
    def width(self, value: int) -> None:
        self.op.keep.fill_(value)

    def unsupported(self, architecture: nn.Module) -> str:
        """Why the unit cannot have scalars, or ``''``.

        Scalars of weights also need convolutions without a bias.
        """
        why = super().unsupported(architecture)
        if why or self.scale == 'output':
            return why
        for channel in self.filters(architecture):
            if not self._bias_cancels(channel.name, architecture):
                return (
                    f'{channel.name} has a bias and no batch norm behind it; with scale="weight" '
                    'a removed filter would still put out the bias'
                )
        return ''

    def prepare(self, architecture: nn.Module) -> list[ChannelRange]:
        """Swap convolutions and norms for ops, and note how many filters are to stay."""
        width = self.width
        ranges = super().prepare(architecture)
        for op in self.ops:
            op.scales_bias = self.scale == 'output'
        self.width = width
        return ranges

    @torch.no_grad()
    def pretend_trained(self) -> None:
        """As in the base class; where weights say how many filters stay, as many as there are."""
        super().pretend_trained()
        self.width = int((self.op.scales != 0).sum())

    def scaled(self, architecture: nn.Module) -> dict[str, ChannelRange]:
        """Layers that would write into a removed channel; none if scalars multiply the weight."""
        return {} if self.scale == 'weight' else super().scaled(architecture)

    @torch.no_grad()
    def magnitudes(self) -> Tensor:
        """``Tensor[n]``: mean absolute weight of each filter, over all convolutions."""
        weights = [op.weight.flatten(1) for op in self.ops]
        return torch.cat(weights, 1).abs().mean(1)

    def _bias_cancels(self, name: str, architecture: nn.Module) -> bool:
        """Whether a convolution has no bias, or a norm behind it that takes it away again."""
        if architecture.get_submodule(name).bias is None:
            return True
        norm = self.norms.get(name)
        kinds = (_BatchNorm, _InstanceNorm)
        return norm is not None and isinstance(architecture.get_submodule(norm), kinds)
