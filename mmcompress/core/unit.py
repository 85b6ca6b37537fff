"""Base of channel units: channels that a method makes fewer together."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from mmcv.cnn.bricks.wrappers import Conv2d as MMCVConv2d
from torch import nn

from .channels import ChannelRange, UnitConfig
from .errors import CompressionError
from .narrow import is_pass_through


class ChannelUnit(ABC):
    """A set of coupled channels and the share of them that a method keeps.

    Not a module: a unit owns no tensors, so that an architecture alone makes up the
    ``state_dict`` of an algorithm.

    Args:
        config: The channels, as the analyzer found them.
        choice: Keep ratio in (0, 1].
        divisor: A multiple that the width has to be of, on top of what the layers ask for.
    """

    def __init__(self, config: UnitConfig, choice: float = 1.0, divisor: int = 1) -> None:
        self.config = config
        if isinstance(divisor, bool) or not isinstance(divisor, int) or divisor < 1:
            raise CompressionError(
                f'divisor of unit {config.name!r} is {divisor!r}; it has to be a positive integer'
            )
        if config.num_channels % divisor or divisor % config.divisor:
            raise CompressionError(
                f'divisor of unit {config.name!r} is {divisor}; it has to divide '
                f'{config.num_channels} and be a multiple of {config.divisor}'
            )
        config.divisor = divisor
        self.choice = choice

    @property
    def name(self) -> str:
        """Name in configs, such as ``backbone.layer1.0.conv1_(0, 64)_64``."""
        return self.config.name

    @property
    def num_channels(self) -> int:
        """Dense width."""
        return self.config.num_channels

    @property
    def width(self) -> int:
        """Compact width: ``choice`` of the dense one, rounded down to the divisor."""
        divisor = self.config.divisor
        # 0.29 * 100 is 28.999999999999996 in floating point and means 29.
        exact = int(self.num_channels * self.choice + 1e-6)
        return max(exact // divisor, 1) * divisor

    def unsupported(self, architecture: nn.Module) -> str:
        """Why this method can't handle the unit, or ``''``.

        Most methods swap plain 2-d convolutions for ops; other producers stay dense.
        """
        for channel in self.filters(architecture):
            layer = architecture.get_submodule(channel.name)
            if not is_plain_conv(layer):
                return f'{channel.name} is a {type(layer).__name__}, not a plain Conv2d'
        return ''

    def filters(self, architecture: nn.Module) -> list[ChannelRange]:
        """The ranges that filters produce, as opposed to norms and pads that hand them on."""
        return [
            channel
            for channel in self.config.producers
            if not is_pass_through(architecture.get_submodule(channel.name))
            and list(architecture.get_submodule(channel.name).parameters(recurse=False))
        ]

    @abstractmethod
    def prepare(self, architecture: nn.Module) -> list[ChannelRange]:
        """Swap the unit's producers for trainable ops, in place.

        Args:
            architecture: The model that the unit was found in.

        Returns:
            Ranges of channels whose width the ops take care of themselves.
        """

    def as_dict(self, with_init_args: bool = True, with_channels: bool = True) -> dict:
        """The unit in MMRazor's JSON shape."""
        parts = self.config.as_dict()
        chosen = {}
        if with_init_args:
            chosen['init_args'] = parts['init_args']
        if with_channels:
            chosen['channels'] = parts['channels']
        chosen['choice'] = self.choice
        return chosen


def is_plain_conv(layer: nn.Module) -> bool:
    """Whether an op may stand in for ``layer``: a 2-d convolution, or such an op already.

    Any other subclass with a forward of its own would lose it.
    """
    return type(layer) in (nn.Conv2d, MMCVConv2d) or (
        isinstance(layer, nn.Conv2d) and hasattr(layer, 'to_static')
    )


def plain_conv(op: nn.Conv2d, weight: nn.Parameter, bias: nn.Parameter | None) -> nn.Conv2d:
    """A plain convolution with the settings of ``op``.

    Args:
        op: Any convolution; its groups have to fit the new weight.
        weight: ``Tensor[n, c / g, k, k]``, taken over as it is.
        bias: ``Tensor[n]`` or ``None``.
    """
    with torch.device('meta'):
        conv = nn.Conv2d(
            weight.shape[1] * op.groups,
            weight.shape[0],
            op.kernel_size,
            stride=op.stride,
            padding=op.padding,
            dilation=op.dilation,
            groups=op.groups,
            bias=bias is not None,
            padding_mode=op.padding_mode,
        )
    conv.weight, conv.bias = weight, bias
    return conv


def replace_module(root: nn.Module, name: str, new: nn.Module) -> None:
    """Put ``new`` where ``name`` is in ``root``; it takes over the training mode."""
    parent_name, _, child = name.rpartition('.')
    parent = root.get_submodule(parent_name)
    new.train(getattr(parent, child).training)
    setattr(parent, child, new)
