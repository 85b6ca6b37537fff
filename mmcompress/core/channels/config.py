"""Channel units as data, and narrowing a model unit by unit."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from mmcompress.core.layers.deploy import blocks_follow
from mmcompress.core.layers.narrow import channels_of, keep_evenly, narrow
from mmcompress.core.layers.stand_ins import update_widths


@dataclass(frozen=True)
class ChannelRange:
    """Channels ``start`` to ``end`` on one side of one layer."""

    name: str
    start: int
    end: int
    is_output: bool

    def expand(self, keep: Tensor, num_channels: int) -> Tensor:
        """Indices in the layer for the unit's channels ``keep``.

        A flattened feature map gives each channel of the unit several inputs of the layer.
        """
        each = (self.end - self.start) // num_channels
        return (self.start + keep[:, None] * each + torch.arange(each)).flatten()

    def as_dict(self) -> dict:
        """The channel as MMRazor writes it into unit configs."""
        return dict(
            name=self.name, start=self.start, end=self.end, is_output_channel=self.is_output
        )


@dataclass
class UnitConfig:
    """A channel unit: ``num_channels`` channels, and every place where they stand.

    ``divisor`` is what a width must be a multiple of (grouped convolutions, group norm).
    """

    num_channels: int
    divisor: int
    channels: list[ChannelRange]

    @property
    def producers(self) -> list[ChannelRange]:
        """Where the channels come from, in the order of the model's modules."""
        return [channel for channel in self.channels if channel.is_output]

    @property
    def name(self) -> str:
        """MMRazor's name, such as ``backbone.layer1.0.conv1_(0, 64)_64``."""
        first = self.producers[0]
        return f'{first.name}_{(first.start, first.end)}_{self.num_channels}'

    def keep(self, width: int) -> Tensor:
        """The first ``width`` channels, taken evenly from each of ``divisor`` groups."""
        return keep_evenly(self.num_channels, self.divisor, width)

    def as_dict(self) -> dict:
        """MMRazor's JSON shape."""
        return dict(
            init_args=dict(num_channels=self.num_channels, divisor=self.divisor),
            channels=dict(
                input_related=[c.as_dict() for c in self.channels if not c.is_output],
                output_related=[c.as_dict() for c in self.producers],
            ),
        )

    @classmethod
    def from_dict(cls, config: dict) -> UnitConfig:
        """The inverse of :meth:`as_dict`; reads MMRazor's files as well."""
        num_channels = config['init_args']['num_channels']
        channels = [
            ChannelRange(
                channel['name'],
                channel.get('start', 0),
                channel.get('end', num_channels),
                side == 'output_related',
            )
            for side in ('output_related', 'input_related')
            for channel in config['channels'][side]
        ]
        return cls(num_channels, config['init_args'].get('divisor', 1), channels)


def narrow_units(model: nn.Module, widths: Iterable[tuple[UnitConfig, int]]) -> None:
    """Narrow every layer of several units at once, in place, to their first channels.

    Args:
        model: The model the units were found in.
        widths: Units, each with the number of channels to keep.

    Raises:
        NarrowError: If a layer cannot be narrowed so.
    """
    narrow_layers(model, [(unit, unit.keep(width)) for unit, width in widths])


def narrow_layers(
    model: nn.Module,
    kept: Iterable[tuple[UnitConfig, Tensor]],
    skip: Iterable[ChannelRange] = (),
) -> None:
    """Keep the given channels of several units, in place.

    A layer can belong to several units (behind a concatenation, on both sides): what goes is
    gathered first and every layer is narrowed once.

    Args:
        model: The model the units were found in.
        kept: Units, each with a LongTensor of the channels to keep, ascending.
        skip: Ranges to leave alone (a method narrows its own ops differently).
    """
    skip = set(skip)
    removed: dict[tuple[str, bool], list[Tensor]] = {}
    for unit, keep in kept:
        gone = torch.ones(unit.num_channels, dtype=torch.bool)
        gone[keep] = False
        for channel in unit.channels:
            if channel not in skip:
                indices = channel.expand(gone.nonzero().flatten(), unit.num_channels)
                removed.setdefault((channel.name, channel.is_output), []).append(indices)
    with blocks_follow(model):
        for name in dict.fromkeys(name for name, _ in removed):
            layer = model.get_submodule(name)
            ins, outs = channels_of(layer)
            narrow(
                layer,
                _complement(ins, removed.get((name, False))),
                _complement(outs, removed.get((name, True))),
            )
    update_widths(model)


def _complement(total: int, removed: list[Tensor] | None) -> Tensor | None:
    if removed is None:
        return None
    keep = torch.ones(total, dtype=torch.bool)
    keep[torch.cat(removed)] = False
    return keep.nonzero().flatten()


def with_twins(unit: UnitConfig, twins: dict[str, list[str]]) -> UnitConfig:
    """The unit with the same channels of all momentum copies."""
    channels = list(unit.channels)
    for channel in unit.channels:
        for source, copies in twins.items():
            if f'{channel.name}.'.startswith(f'{source}.'):
                rest = channel.name.removeprefix(source)
                channels.extend(replace(channel, name=copy + rest) for copy in copies)
    return replace(unit, channels=channels)
