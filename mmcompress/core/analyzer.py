"""DependencyAnalyzer: which channels of an architecture must go together.

The graph of coupled channels is Torch-Pruning's (Fang et al., DepGraph, CVPR 2023), built on
the model's real forward pass. What is added here: ranges instead of single channels, MMRazor's
unit configs as the result, and a check of every unit by narrowing it and running the model.
"""

from __future__ import annotations

import copy
import fnmatch
import math
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import torch
import torch_pruning as tp
from mmengine.logging import print_log
from torch import Tensor, nn

from mmcompress.registry import TASK_UTILS

from .errors import CompressionError
from .narrow import (
    NarrowError,
    channels_of,
    has_protocol,
    is_depthwise,
    is_narrowable,
    is_pass_through,
    narrow,
)
from .probe import Probe, seeded, tensors_in, working_copy


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
        each = self.num_channels // self.divisor
        rows = torch.arange(self.num_channels).view(self.divisor, each)
        return rows[:, : width // self.divisor].flatten()

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


@dataclass
class Analysis:
    """What :meth:`DependencyAnalyzer.analyze` found.

    Attributes:
        units: Verified units by name.
        rejected: Why a unit cannot be narrowed, by its name.
        unreached: Layers that the forward pass never ran; they keep their width.
    """

    units: dict[str, UnitConfig] = field(default_factory=dict)
    rejected: dict[str, str] = field(default_factory=dict)
    unreached: list[str] = field(default_factory=list)


@TASK_UTILS.register_module()
class DependencyAnalyzer:
    """Find the channel units of an architecture.

    Args:
        include: Names (with shell wildcards) of modules whose output channels may be removed;
            a name includes what is inside of it.
        exclude: Names that may not, even though included.
        input_shape: ``(N, C, H, W)`` of the demo batch; ``None`` finds one.

    Example:
        >>> analyzer = DependencyAnalyzer()
        >>> units = analyzer.analyze(model).units
        >>> units['backbone.layer1.0.conv1_(0, 64)_64'].num_channels
        64
    """

    def __init__(
        self,
        include: Sequence[str] | str = ('backbone',),
        exclude: Sequence[str] | str = (),
        input_shape: Sequence[int] | None = None,
    ) -> None:
        self.include = [include] if isinstance(include, str) else list(include)
        self.exclude = [exclude] if isinstance(exclude, str) else list(exclude)
        self.input_shape = None if input_shape is None else tuple(input_shape)

    def analyze(self, model: nn.Module) -> Analysis:
        """Find and verify the channel units of ``model``.

        The model itself, its training mode and the random state are left untouched.

        Args:
            model: A dense architecture.

        Returns:
            Verified units, and the reason for every one that was turned down.

        Raises:
            CompressionError: If a pattern matches no module, or no forward pass can be run.
        """
        self._check_patterns(model)
        with seeded(), torch.enable_grad(), warnings.catch_warnings():
            warnings.simplefilter('ignore')
            work = working_copy(model)
            probe = Probe(work, self.input_shape)
            found, rejected = self._units(work, probe)
            return self._verify(work, probe, found, rejected)

    # Units from the dependency graph

    def _units(self, model: nn.Module, probe: Probe) -> tuple[list[UnitConfig], dict[str, str]]:
        graph = tp.DependencyGraph()
        for kind in {type(m) for m in model.modules() if has_protocol(m)}:
            graph.register_customized_layer(kind, _ProtocolPruner())
        graph.build_dependency(
            model,
            example_inputs=None,
            forward_fn=lambda m, _: probe.run(m),
            output_transform=lambda out: [t for t in tensors_in(out) if t.grad_fn is not None],
            verbose=False,
        )
        order = {module: i for i, (_, module) in enumerate(model.named_modules())}
        names = {module: name for name, module in model.named_modules()}
        units: list[UnitConfig] = []
        rejected: dict[str, str] = {}
        taken: set[tuple[str, int]] = set()
        covered: Counter[str] = Counter()
        for root in sorted(graph.module2node, key=lambda m: order.get(m, math.inf)):
            if not self._is_root(root, names) or root not in order:
                continue
            width = channels_of(root)[1]
            if covered[names[root]] == width:
                continue  # the unit of an earlier root holds all of it
            pruner = graph.get_pruner_of_module(root)
            group = graph.get_pruning_group(root, pruner.prune_out_channels, list(range(width)))
            ranges, reason = _ranges_of(group, graph, names)
            for unit in _split_into_units(width, ranges, order, model):
                first = (names[root], unit.start)
                if first in taken:
                    continue
                for channel in unit.config.producers:
                    taken.add((channel.name, channel.start))
                    covered[channel.name] += channel.end - channel.start
                why = reason or unit.reason or self._outside(unit.config, model)
                if why:
                    rejected[unit.config.name] = why
                else:
                    units.append(unit.config)
        return units, rejected

    def _is_root(self, module: object, names: dict[nn.Module, str]) -> bool:
        # Depthwise convolutions pass channels through; what feeds them is the root.
        is_conv = isinstance(module, nn.modules.conv._ConvNd) and not is_depthwise(module)
        return is_conv and module in names and self._wanted(names[module])

    def _outside(self, unit: UnitConfig, model: nn.Module) -> str:
        """Why a unit may not be touched: one of its producers isn't included."""
        for channel in unit.producers:
            layer = model.get_submodule(channel.name)
            if not is_pass_through(layer) and not self._wanted(channel.name):
                return f'its channels are also those of {channel.name}, which is not included'
        return ''

    def _wanted(self, name: str) -> bool:
        return matches(name, self.include) and not matches(name, self.exclude)

    def _check_patterns(self, model: nn.Module) -> None:
        names = [name for name, _ in model.named_modules() if name]
        for key in ('include', 'exclude'):
            for pattern in getattr(self, key):
                if not any(matches(name, [pattern]) for name in names):
                    children = ', '.join(name for name, _ in model.named_children())
                    raise CompressionError(
                        f'{key}: {pattern!r} matches no module of {type(model).__name__}; '
                        f'it consists of {children}'
                    )

    # Verification

    def _verify(
        self,
        model: nn.Module,
        probe: Probe,
        found: list[UnitConfig],
        rejected: dict[str, str],
    ) -> Analysis:
        """Narrow the units and run the model: shapes of outputs must stay.

        All units at once, each to a width that its neighbours do not have: two units that are
        really one then disagree somewhere. Only when that fails is the set searched, by
        halves, for the units to blame.
        """
        reference = probe.signature(model)
        widths = {unit.name: _probing_width(unit, i) for i, unit in enumerate(found)}
        good: list[UnitConfig] = []

        def failure(units: Iterable[UnitConfig]) -> str:
            trial = copy.deepcopy(model)
            try:
                narrow_units(trial, [(unit, widths[unit.name]) for unit in units])
                if probe.signature(trial) != reference:
                    return 'narrowing it changes the shape of the outputs of the model'
            except Exception as error:  # whatever a user's forward raises on wrong shapes
                first_line = (str(error).splitlines() or [type(error).__name__])[0]
                return f'narrowing it breaks the forward pass: {first_line}'
            return ''

        def search(units: list[UnitConfig]) -> None:
            why = failure(good + units)
            if not why:
                good.extend(units)
            elif len(units) == 1:
                rejected[units[0].name] = why
            else:
                search(units[: len(units) // 2])
                search(units[len(units) // 2 :])

        if found:
            search(found)
        return Analysis({unit.name: unit for unit in good}, rejected, probe.unreached)


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether ``name``, or a module that contains it, matches one of ``patterns``."""
    return any(
        fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(name, pattern + '.*')
        for pattern in patterns
    )


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
    for name in dict.fromkeys(name for name, _ in removed):
        layer = model.get_submodule(name)
        ins, outs = channels_of(layer)
        narrow(
            layer,
            _complement(ins, removed.get((name, False))),
            _complement(outs, removed.get((name, True))),
        )


def _complement(total: int, removed: list[Tensor] | None) -> Tensor | None:
    if removed is None:
        return None
    keep = torch.ones(total, dtype=torch.bool)
    keep[torch.cat(removed)] = False
    return keep.nonzero().flatten()


def _probing_width(unit: UnitConfig, position: int) -> int:
    """About half of the unit, and different for units that stand close to each other."""
    steps = unit.num_channels // unit.divisor
    if steps == 1:
        return unit.num_channels
    return unit.divisor * (1 + (steps // 2 + position) % (steps - 1))


@dataclass
class _Piece:
    """Part of a root's output that is coupled as a whole, and why it can't be used, if so."""

    start: int
    config: UnitConfig
    reason: str = ''


@dataclass(frozen=True)
class _Run:
    """Consecutive indices of a layer that stand for consecutive channels of the root."""

    name: str
    is_output: bool
    root_start: int
    root_end: int
    start: int
    each: int


class _ProtocolPruner(tp.BasePruningFunc):
    """Tells Torch-Pruning the widths of a module that brings its own ``narrow``."""

    def prune_out_channels(self, layer: nn.Module, idxs: Sequence[int]) -> nn.Module:
        return layer

    def prune_in_channels(self, layer: nn.Module, idxs: Sequence[int]) -> nn.Module:
        return layer

    def get_out_channels(self, layer: nn.Module) -> int:
        return layer.out_channels

    def get_in_channels(self, layer: nn.Module) -> int:
        return layer.in_channels


def _ranges_of(
    group: tp.dependency.Group, graph: tp.DependencyGraph, names: dict[nn.Module, str]
) -> tuple[list[_Run], str]:
    """Runs of coupled channels in a Torch-Pruning group, and what in it can't be narrowed."""
    runs: list[_Run] = []
    reason = ''
    for item in group:
        layer = item.dep.target.module
        if isinstance(layer, nn.Parameter):
            name = graph._param_to_name.get(layer, 'a parameter')
            reason = reason or f'its channels are those of the bare parameter {name}'
            continue
        if layer not in names:
            continue  # concatenation, addition, reshape: nothing of it is stored
        if not is_narrowable(layer):
            reason = reason or (
                f'{names[layer]} is a {type(layer).__name__}, whose channels are not known'
            )
            continue
        sides = (False, True)
        if not is_pass_through(layer):
            sides = (graph.is_out_channel_pruning_fn(item.dep.handler),)
        for is_output in sides:
            runs.extend(_runs(names[layer], is_output, item.idxs, item.root_idxs))
    return runs, reason


def _runs(name: str, is_output: bool, idxs: Sequence[int], roots: Sequence[int]) -> list[_Run]:
    """Cut a mapping from indices of a layer to channels of the root into runs."""
    by_index = sorted(zip(idxs, roots, strict=True))
    # A flattened feature map: several consecutive inputs for each channel.
    each = max(1, sum(1 for _, root in by_index if root == by_index[0][1]))
    consecutive = all(root == by_index[i - i % each][1] for i, (_, root) in enumerate(by_index))
    if each > 1 and not consecutive:
        each = 1  # the same channels twice (concatenated with themselves)
    heads = by_index[::each]
    runs: list[_Run] = []
    begin = 0
    for i in range(1, len(heads) + 1):
        if i < len(heads) and (
            heads[i][0] == heads[i - 1][0] + each and heads[i][1] == heads[i - 1][1] + 1
        ):
            continue
        index, root = heads[begin]
        runs.append(_Run(name, is_output, root, root + i - begin, index, each))
        begin = i
    return runs


def _split_into_units(
    width: int, runs: list[_Run], order: dict[nn.Module, int], model: nn.Module
) -> list[_Piece]:
    """Units for the output of one root: cut wherever some layer takes only part of it."""
    cuts = sorted({0, width}.union(*((run.root_start, run.root_end) for run in runs)))
    modules = dict(model.named_modules())
    pieces = []
    for start, end in pairwise(cuts):
        channels = []
        for run in runs:
            if run.root_start <= start and end <= run.root_end:
                first = run.start + (start - run.root_start) * run.each
                channels.append(
                    ChannelRange(run.name, first, first + (end - start) * run.each, run.is_output)
                )
        channels = sorted(
            set(channels),
            key=lambda c: (is_pass_through(modules[c.name]), order[modules[c.name]], c.start),
        )
        config = UnitConfig(end - start, 1, channels)
        piece = _Piece(start, config)
        config.divisor, piece.reason = _divisor(config, modules)
        pieces.append(piece)
    # One channel at a time is what a channel shuffle looks like.
    if len(pieces) > 1 and len(pieces) == width:
        for piece in pieces:
            piece.reason = piece.reason or 'its channels are permuted one by one'
    return pieces


def _divisor(unit: UnitConfig, modules: dict[str, nn.Module]) -> tuple[int, str]:
    """What a width must be a multiple of, and why no width will do, if so."""
    divisor = 1
    for channel in unit.channels:
        layer = modules[channel.name]
        groups = 1
        if isinstance(layer, nn.GroupNorm):
            groups = layer.num_groups
        elif isinstance(layer, nn.modules.conv._ConvNd) and not is_depthwise(layer):
            groups = layer.groups
        if groups > 1 and channel.end - channel.start != channels_of(layer)[channel.is_output]:
            return 1, f'it is only part of the grouped layer {channel.name}'
        divisor = math.lcm(divisor, groups)
    if unit.num_channels % divisor:
        return 1, f'its {unit.num_channels} channels are not a multiple of {divisor} groups'
    return divisor, ''


def log_analysis(analysis: Analysis) -> None:
    """Write what was found, and what could not be used and why, to the run's log."""
    print_log(f'{len(analysis.units)} channel units can be narrowed', logger='current')
    for name, reason in analysis.rejected.items():
        print_log(f'left alone: {name}: {reason}', logger='current')


__all__ = [
    'Analysis',
    'ChannelRange',
    'DependencyAnalyzer',
    'NarrowError',
    'UnitConfig',
    'log_analysis',
    'matches',
    'narrow_layers',
    'narrow_units',
]
