"""What reads filters that are gone: convolutions that lose input channels which still come in.

A convolution that reads the sum of residual blocks, or what a norm makes of a removed filter, gets
all channels; which of them it does not read any more is noted here.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping
from typing import cast

import torch
from torch import Tensor, nn

from mmcompress.core.channels.config import ChannelRange, UnitConfig
from mmcompress.core.errors import CompressionError, nearest

from .op import FactorizedConv2d
from .unit import FCFUnit

#: What the paper leaves dense besides the stem: names of shortcuts, and of stems of several
#: convolutions, in OpenMMLab's backbones.
SKIP = ('*downsample*', '*shortcut*', '*stem*')

#: By name of a convolution, what it reads, each with the number of its first channel among the
#: convolution's inputs.
Readers = dict[str, dict[str, int]]


def readers_of_sum(
    config: UnitConfig, summands: Iterable[ChannelRange], modules: dict[str, nn.Module]
) -> Readers:
    """What reads a sum, and the convolution that was added to it last before.

    Shortcuts are no blocks. A convolution that keeps all its filters, since ``skip`` names it, is
    one, and behind it nothing is cut.

    Args:
        config: The unit of the sum.
        summands: Convolutions whose channels are added.
        modules: Of the architecture, by name, in order.
    """
    found: Readers = {}
    order = {name: index for index, name in enumerate(modules)}
    blocks = {
        channel.name: (channel.start, channel.end)
        for channel in summands
        if not any(fnmatch.fnmatchcase(channel.name, name) for name in SKIP)
    }
    for channel in config.channels:
        before = [name for name in blocks if order[name] < order[channel.name]]
        if channel.is_output or not before:
            continue
        source = max(before, key=order.__getitem__)
        whole = blocks[source] == (0, modules[source].out_channels)
        if whole and reads_all(modules[channel.name], channel, config.num_channels):
            found.setdefault(channel.name, {})[source] = channel.start
    return found


def check_whole(given: dict[str, UnitConfig]) -> None:
    """See that units say what reads a sum; those that are split already do not.

    Raises:
        CompressionError: If one is.
    """
    for name, config in given.items():
        if all(channel.is_output for channel in config.channels):
            raise CompressionError(
                f'mutator_cfg.cut_inputs is True, but the channels of {name!r} in '
                'channel_unit_cfg.units do not say which layers read them; write the file '
                'again with `mmcompress units -c -i` and this option'
            )


def check_cut(architecture: nn.Module, reader: str, source: str, start: int) -> None:
    """See that an entry of a template fits the architecture.

    Raises:
        CompressionError: If it doesn't.
    """
    modules = dict(architecture.named_modules())
    for name in (reader, source):
        if not isinstance(modules.get(name), nn.Conv2d):
            raise CompressionError(
                f'mutator_cfg.cut_inputs: {name!r} is no convolution of '
                f'{type(architecture).__name__}; the nearest names are '
                f'{nearest(name, modules)}'
            )
    fits = isinstance(start, int) and start >= 0 and modules[reader].groups == 1
    if not fits or start + modules[source].out_channels > modules[reader].in_channels:
        raise CompressionError(
            f'mutator_cfg.cut_inputs: {reader!r} does not read the '
            f'{modules[source].out_channels} channels of {source!r} from {start!r} on; it has '
            f'{modules[reader].in_channels} inputs and {modules[reader].groups} groups'
        )


def connect(
    architecture: nn.Module, units: Mapping[str, FCFUnit], residual: Readers, every: bool
) -> Readers:
    """Tell convolutions which filters they read, where they are to lose these as well.

    Args:
        architecture: With ops in it.
        units: By name.
        residual: Convolutions that read a sum, and the convolutions that were added to it last.
        every: Whether all that read removed filters lose them: where scalars multiply the weight,
            what a removed filter puts out is the bias of its norm, not zero.

    Returns:
        By convolution, the units whose removed filters it doesn't read any more.

    Raises:
        CompressionError: If ``residual`` doesn't fit.
    """
    cuts: Readers = {}
    ops = {n: m for n, m in architecture.named_modules() if isinstance(m, FactorizedConv2d)}
    owners = {layer: name for name, unit in units.items() for layer in filters_in(unit, ops)}
    for reader, sources in residual.items():
        for source, start in sources.items():
            check_cut(architecture, reader, source, start)
            if reader in ops and source in owners:
                cuts.setdefault(reader, {})[owners[source]] = start
    for name, unit in units.items() if every else ():
        for channel in unit.config.channels:
            op = ops.get(channel.name)
            if op and not channel.is_output and reads_all(op, channel, unit.num_channels):
                cuts.setdefault(channel.name, {})[name] = channel.start
    for reader, sources in cuts.items():
        for name, start in sources.items():
            ops[reader].read(start, units[name].op)
    return cuts


def filters_in(unit: FCFUnit, ops: Mapping[str, nn.Module]) -> list[str]:
    """The layers of a unit that are ops, in order."""
    return [c.name for c in unit.config.producers if c.name in ops]


@torch.no_grad()
def cut(architecture: nn.Module, cuts: Readers, binary: bool) -> None:
    """Make the weights that read removed filters zero, once scalars are binary.

    Args:
        architecture: With ops in it.
        cuts: What :func:`connect` gave.
        binary: Whether scalars are; otherwise everything is read.
    """
    for reader in cuts:
        op = cast(FactorizedConv2d, architecture.get_submodule(reader))
        op.cuts_inputs = binary
        if binary:
            op.weight.mul_(op.inputs().view(1, -1, 1, 1))


@torch.no_grad()
def remove_in_front(
    static: nn.Module, units: Mapping[str, FCFUnit], gone: dict[str, Tensor]
) -> tuple[list[tuple[UnitConfig, Tensor]], dict[str, str]]:
    """What to narrow where norms keep all channels, and the units of these convolutions.

    Args:
        static: Not narrowed yet; running means of norms are changed in place.
        units: By name.
        gone: The kept channels of units that lose some.
    """
    removed, partial = [], {}
    for name, keep in gone.items():
        unit = units[name]
        config = unit.config
        for channel in config.producers:
            if channel.name not in unit.places:
                continue
            removed.append((UnitConfig(config.num_channels, config.divisor, [channel]), keep))
            partial[channel.name] = name
            conv = cast(nn.Conv2d, static.get_submodule(channel.name))
            if conv.bias is not None:
                # A removed filter puts out its bias, and its norm takes that away again.
                norm = cast(nn.BatchNorm2d, static.get_submodule(unit.norms[channel.name]))
                mean = norm.running_mean
                if mean is not None:
                    bias = conv.bias.clone()
                    bias[keep.to(bias.device)] = 0
                    mean.sub_(bias)
    return removed, partial


def inputs_left(
    static: nn.Module,
    units: Mapping[str, FCFUnit],
    cuts: Readers,
    gone: dict[str, Tensor],
    removed: list[UnitConfig],
) -> tuple[dict[str, Tensor], dict[str, int]]:
    """Of the channels that still come into convolutions, those that are read, and how many.

    Args:
        static: Not narrowed yet.
        units: By name.
        cuts: What :func:`connect` gave.
        gone: The kept channels of units that lose some.
        removed: Those of the units whose channels do not come in any more.
    """
    kept, of = {}, {}
    for layer, sources in cuts.items():
        conv = cast(nn.Conv2d, static.get_submodule(layer))
        there = torch.ones(conv.in_channels, dtype=torch.bool)
        for config in removed:
            for channel in config.channels:
                if channel.name == layer and not channel.is_output:
                    there[channel.start : channel.end] = _mask(gone[config.name], config)
        read = there.clone()
        for name, start in sources.items():
            if name in gone:
                unit = units[name]
                read[start : start + unit.num_channels] &= _mask(gone[name], unit.config)
        if int(read.sum()) < int(there.sum()):
            kept[layer] = read[there].nonzero().flatten()
            of[layer] = int(there.sum())
    return kept, of


def narrowed_inputs(
    units: Mapping[str, FCFUnit], cuts: Readers, gone: dict[str, Tensor]
) -> list[tuple[UnitConfig, Tensor]]:
    """The channels that convolutions lose among their inputs, as units to narrow."""
    return [
        (_reader(layer, start, units[name].num_channels), gone[name])
        for layer, sources in cuts.items()
        for name, start in sources.items()
        if name in gone
    ]


def reads_all(layer: nn.Module, channel: ChannelRange, num_channels: int) -> bool:
    """Whether a layer is a convolution whose every filter reads all channels of a unit."""
    whole = channel.end - channel.start == num_channels
    return isinstance(layer, nn.Conv2d) and layer.groups == 1 and whole


def _reader(layer: str, start: int, num_channels: int) -> UnitConfig:
    """What a unit's channels are among the inputs of one convolution."""
    channel = ChannelRange(layer, start, start + num_channels, False)
    return UnitConfig(num_channels, 1, [channel])


def _mask(keep: Tensor, config: UnitConfig) -> Tensor:
    """``bool Tensor[n]`` of a unit's channels, True where they are kept."""
    return torch.zeros(config.num_channels, dtype=torch.bool).index_fill(0, keep, True)
