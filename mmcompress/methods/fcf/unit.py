"""The unit of FCF."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from mmcompress.core.channels.config import ChannelRange, UnitConfig
from mmcompress.core.channels.unit import ChannelUnit
from mmcompress.registry import MODELS

from .admm import keep_largest
from .op import FactorizedConv2d, FactorizedNorm


@MODELS.register_module()
class FCFUnit(ChannelUnit):
    """Filters with one vector of scalars: those of a channel unit, or of one convolution.

    A unit without consumers is *partial*: the channels of its convolution are added to others,
    which stay. A block of the exported network then adds what is left of them into those.

    Args:
        config: See the base class.
        choice: See the base class.
        divisor: See the base class.

    Attributes:
        groups: Consecutive parts of the channels that have to keep equally many (grouped
            convolutions), each a row of ADMM's tensors.
        norms: Name of the norm directly behind a convolution, by name of the convolution.
        scale: What the scalars multiply, see the mutator.
        op: The owner of the scalars, once :meth:`prepare` has run.
        ops: That and the ops that share them.
    """

    def __init__(self, config: UnitConfig, choice: float = 1.0, divisor: int = 1) -> None:
        self.groups = config.divisor
        super().__init__(config, choice, divisor)
        self.norms: dict[str, str] = {}
        self.scale = 'output'
        self.op: FactorizedConv2d | None = None
        self.ops: list[FactorizedConv2d] = []

    @property
    def partial(self) -> bool:
        """Whether the channels are added to others and have no consumers of their own."""
        return all(channel.is_output for channel in self.config.channels)

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
        """Scalars stand for whole convolutions, and for norms that treat channels alone."""
        why = super().unsupported(architecture)
        if why:
            return why
        for channel in self.filters(architecture):
            out_channels = architecture.get_submodule(channel.name).out_channels
            if (channel.start, channel.end) != (0, out_channels):
                return (
                    f'{channel.name} gives it channels {channel.start} to {channel.end} of '
                    f'{out_channels}; FCF needs all of a convolution in one unit'
                )
            if self.scale == 'weight' and not self._bias_cancels(channel.name, architecture):
                return (
                    f'{channel.name} has a bias and no batch norm behind it; with scale="weight" '
                    'a removed filter would still put out the bias'
                )
        for channel in self.config.producers:
            layer = architecture.get_submodule(channel.name)
            if isinstance(layer, (nn.GroupNorm, nn.LayerNorm)):
                return (
                    f'{channel.name} is a {type(layer).__name__}, whose statistics would change '
                    'without the channels that FCF sets to zero'
                )
        return ''

    def prepare(self, architecture: nn.Module) -> list[ChannelRange]:
        """Swap convolutions and norms for ops; while FCF trains every width is the dense one."""
        width = self.width
        scaled = self._scaled(architecture)
        for channel in self.filters(architecture):
            op = FactorizedConv2d(architecture.get_submodule(channel.name), self.op)
            op.scaled_by_norm = self.norms.get(channel.name) in scaled
            op.scales_bias = self.scale == 'output'
            self.put(architecture, channel.name, op)
            self.op = self.op or op
            self.ops.append(op)
        for name, channel in scaled.items():
            norm = architecture.get_submodule(name)
            if not isinstance(norm, FactorizedNorm):
                norm = FactorizedNorm(norm)
            self.put(architecture, name, norm)
            norm.scale(channel.start, channel.end, self.op)
        self.width = width
        return self.config.channels

    @property
    def rows(self) -> Tensor:
        """``v`` as ``Tensor[groups, n / groups]``; shares its memory."""
        return self.op.v.detach().view(self.groups, -1)

    @torch.no_grad()
    def magnitudes(self) -> Tensor:
        """``Tensor[n]``: mean absolute weight of each filter, over all convolutions."""
        weights = [op.weight.flatten(1) for op in self.ops]
        return torch.cat(weights, 1).abs().mean(1)

    @torch.no_grad()
    def kept(self) -> Tensor:
        """LongTensor[k] of the channels with the largest scalars, ascending."""
        return keep_largest(self.rows, self.width // self.groups).flatten().nonzero().flatten()

    def _scaled(self, architecture: nn.Module) -> dict[str, ChannelRange]:
        """What else than filters would put something into channels whose scalar is zero."""
        if self.scale == 'weight':
            return {}
        filters = self.filters(architecture)
        return {
            channel.name: channel
            for channel in self.config.producers
            if channel not in filters and not _keeps_zero(architecture.get_submodule(channel.name))
        }

    def _bias_cancels(self, name: str, architecture: nn.Module) -> bool:
        """Whether a convolution has no bias, or a norm behind it that takes it away again."""
        if architecture.get_submodule(name).bias is None:
            return True
        norm = self.norms.get(name)
        kinds = (_BatchNorm, _InstanceNorm)
        return norm is not None and isinstance(architecture.get_submodule(norm), kinds)


def _keeps_zero(layer: nn.Module) -> bool:
    """Whether a channel that is zero comes out as zero, and no other takes its place.

    Norms add a bias, a shortcut that pads puts other channels there.
    """
    if isinstance(layer, nn.Conv2d):
        return layer.bias is None
    return isinstance(layer, nn.PReLU)
