"""What a network's layers do: the shapes to time, and how they follow the widths of units."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import nn
from torch.nn.modules.conv import _ConvTransposeNd

from mmcompress.core.channels.config import UnitConfig
from mmcompress.core.layers.narrow import channels_of, is_depthwise
from mmcompress.core.probe.example import Example
from mmcompress.core.probe.followers import norms_behind
from mmcompress.core.probe.shapes import shapes_in

from .table import Layer, Timed, TimeTable


@dataclass
class Work:
    """Layers of a network that do the same.

    Attributes:
        layer: Their shape, as :mod:`~mmcompress.latency.time_layers` describes it.
        names: Names of the layers, once for every time that they run.
        ins: Dense input channels.
        outs: Dense output channels.
        each: Input and output channels of the layer by channel of a unit: ``{unit: (in, out)}``.
        dense: Dense widths of these units.
    """

    layer: Layer
    names: list[str]
    ins: int
    outs: int
    each: dict[str, tuple[float, float]] = field(default_factory=dict)
    dense: dict[str, int] = field(default_factory=dict)

    @property
    def amounts(self) -> tuple[float, float]:
        """MACs and parameters by pair of input and output channel; depthwise, by channel."""
        each = math.prod(self.layer['kernel']) * len(self.names) / self.layer['groups']
        return each * math.prod(output_size(self.layer)), each

    def pairs(self, ins: Any, outs: Any) -> Any:
        """What :attr:`amounts` are multiplied with."""
        return ins if self.layer['depthwise'] else ins * outs

    def widths(self, kept: Mapping[str, Any]) -> tuple[Any, Any]:
        """Input and output channels where units keep some, in numbers or arrays."""
        sides: list[Any] = [self.ins, self.outs]
        for unit, share in self.each.items():
            gone = self.dense[unit] - kept[unit]
            sides = [side - one * gone for side, one in zip(sides, share, strict=True)]
        return sides[0], sides[1]

    def time(self, table: TimeTable, kept: Mapping[str, Any]) -> np.ndarray:
        """Milliseconds of these layers in a forward pass where units keep some channels."""
        return len(self.names) * table.time(self.layer, *self.widths(kept))


def output_size(layer: Layer) -> tuple[int, ...]:
    """Height and width of what a layer gives; nothing for a linear layer."""
    sides = ('size', 'kernel', 'stride', 'padding', 'dilation')
    return tuple(
        (size + 2 * p - d * (k - 1) - 1) // s + 1
        for size, k, s, p, d in zip(*(layer[name] for name in sides), strict=True)
    )


def macs_of(work: Timed) -> float:
    """MACs of layers, for one image."""
    total = 0.0
    for layer, (ins, outs) in work:
        each = math.prod(layer['kernel']) * math.prod(output_size(layer)) / layer['groups']
        total += each * (ins if layer['depthwise'] else ins * outs)
    return total


def works_of(
    model: nn.Module,
    units: Mapping[str, UnitConfig],
    shape: tuple[int, ...] | Example,
    batch: int = 1,
) -> list[Work]:
    """The convolutions and linear layers that units reach.

    Args:
        model: The dense architecture; left as it is.
        units: Units by name.
        shape: ``(channels, height, width)`` of an image, or inputs that a user gives.
        batch: Images in a batch.

    Raises:
        CompressionError: If the model doesn't run on such images.
    """
    modules = dict(model.named_modules())
    each: dict[str, dict[str, list[float]]] = {}
    for name, unit in units.items():
        for channel in unit.channels:
            if is_timed(modules[channel.name]):
                sides = each.setdefault(channel.name, {}).setdefault(name, [0.0, 0.0])
                share = (channel.end - channel.start) / unit.num_channels
                sides[int(channel.is_output)] += share
    for name, touched in each.items():
        if is_depthwise(modules[name]):
            for sides in touched.values():
                sides[:] = [max(sides)] * 2
    demo = shape if isinstance(shape, Example) else (batch, *shape)
    seen = shapes_in(model, each, demo)
    followed = norms_behind(model, demo)
    found: dict[Any, Work] = {}
    for name, touched in each.items():
        layer = modules[name]
        ins, outs = channels_of(layer)
        shares = {unit: (sides[0], sides[1]) for unit, sides in touched.items()}
        for size in (taken for taken, _ in seen.get(name, []) if taken is not None):
            described = describe(layer, size, name in followed)
            key = (repr(described), ins, outs, tuple(shares.items()))
            work = found.get(key)
            if work is None:
                dense = {unit: units[unit].num_channels for unit in touched}
                work = found[key] = Work(described, [], ins, outs, shares, dense)
            work.names.append(name)
    return list(found.values())


def is_timed(layer: nn.Module) -> bool:
    """Whether a layer is of a kind that can be timed by itself."""
    if isinstance(layer, _ConvTransposeNd):
        return False
    return isinstance(layer, (nn.Conv2d, nn.Linear))


def describe(layer: Any, size: Sequence[int], norm: bool) -> Layer:
    """A layer as :mod:`~mmcompress.latency.time_layers` describes it.

    Args:
        layer: A convolution or linear layer.
        size: Shape of its input.
        norm: Whether a norm, and a ReLU, follow it.
    """
    if isinstance(layer, nn.Linear):
        return dict(
            kind='linear', kernel=[], stride=[], padding=[], dilation=[], groups=1,
            depthwise=False, size=[], batch=int(math.prod(size[:-1])), norm=False,
        )  # fmt: skip
    return dict(
        kind='conv',
        kernel=list(layer.kernel_size),
        stride=list(layer.stride),
        padding=_padding(layer),
        dilation=list(layer.dilation),
        groups=1 if is_depthwise(layer) else layer.groups,
        depthwise=is_depthwise(layer),
        size=list(size[2:]),
        batch=size[0],
        norm=norm,
    )


def _padding(layer: Any) -> list[int]:
    if layer.padding == 'same':
        pairs = zip(layer.dilation, layer.kernel_size, strict=True)
        return [dilation * (kernel - 1) // 2 for dilation, kernel in pairs]
    return [0] * len(layer.kernel_size) if layer.padding == 'valid' else list(layer.padding)
