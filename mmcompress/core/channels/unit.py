"""Base of channel units: channels that a method makes fewer together."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import replace

from torch import Tensor, nn

from mmcompress.core.base.budget import AUTO, step_of
from mmcompress.core.base.conv_op import is_conv
from mmcompress.core.base.op import Op
from mmcompress.core.checks import is_number
from mmcompress.core.errors import CompressionError
from mmcompress.core.layers.narrow import is_pass_through
from mmcompress.core.layers.replace import replace_everywhere

from .config import ChannelRange, UnitConfig


class ChannelUnit(ABC):
    """A set of coupled channels and the share of them that a method keeps.

    Not a module: a unit owns no tensors, so that an architecture alone makes up the
    ``state_dict`` of an algorithm.

    Args:
        config: The channels, as the analyzer found them.
        choice: Keep ratio in (0, 1].
        divisor: A multiple that the width has to be of, on top of what the layers ask for; widths
            are rounded down to it. ``'auto'`` takes a multiple that runtimes are fast at
            (:func:`~mmcompress.core.base.budget.step_of`), and rounds to the nearest.

    Attributes:
        places: Ops by all names of the layers that they stand in for.
    """

    def __init__(self, config: UnitConfig, choice: float = 1.0, divisor: int | str = 1) -> None:
        self._nearest = divisor == AUTO
        if divisor == AUTO:
            divisor = _fast_step(config)
        if isinstance(divisor, bool) or not isinstance(divisor, int) or divisor < 1:
            raise CompressionError(
                f'divisor of unit {config.name!r} is {divisor!r}; it has to be a positive '
                "integer, or 'auto'"
            )
        if config.num_channels % divisor or divisor % config.divisor:
            raise CompressionError(
                f'divisor of unit {config.name!r} is {divisor}; it has to divide '
                f'{config.num_channels} and be a multiple of {config.divisor}'
            )
        self.config = replace(config, divisor=divisor)
        self.choice = choice
        self.places: dict[str, Op] = {}

    @property
    def choice(self) -> float:
        """Keep ratio; where the divisor is ``'auto'``, that of the nearest multiple."""
        return self._choice

    @choice.setter
    def choice(self, ratio: float) -> None:
        if self._nearest and is_number(ratio):
            step, total = self.config.divisor, self.num_channels
            ratio = min(max(round(ratio * total / step), 1) * step, total) / total
        self._choice = ratio

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
        return self.width_at(self.choice)

    def width_at(self, ratio: float) -> int:
        """The width for a keep ratio, rounded down to the divisor; that at least."""
        divisor = self.config.divisor
        # 0.29 * 100 is 28.999999999999996 in floating point and means 29.
        exact = int(self.num_channels * ratio + 1e-6)
        return max(exact // divisor, 1) * divisor

    def unsupported(self, architecture: nn.Module) -> str:
        """Why this method can't handle the unit, or ``''``.

        Most methods swap 2-d convolutions for ops; other producers stay dense.
        """
        for channel in self.filters(architecture):
            layer = architecture.get_submodule(channel.name)
            if not is_conv(layer):
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

    def put(self, architecture: nn.Module, name: str, op: Op) -> None:
        """Put an op in the place of a layer, in place, and keep in mind where it is.

        Args:
            architecture: The model.
            name: Of the layer; the op may be there already.
            op: Stands in for it.
        """
        names = replace_everywhere(architecture, name, op)
        self.places.update(dict.fromkeys(names, op))

    def load_dense(self, state: dict[str, Tensor]) -> None:
        """Let the ops complete the weights of dense layers, in place.

        Args:
            state: Tensors by their names in the architecture.
        """
        for name, op in self.places.items():
            op.fill_missing(state, f'{name}.')

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


def _fast_step(config: UnitConfig) -> int:
    """A multiple that runtimes are fast at, which divides the dense width."""
    step = step_of(config.num_channels, 1, AUTO)
    while config.num_channels % math.lcm(config.divisor, step):
        step //= 2
    return math.lcm(config.divisor, step)
