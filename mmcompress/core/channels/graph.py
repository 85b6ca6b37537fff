"""Channel units from Torch-Pruning's dependency graph (Fang et al., DepGraph, CVPR 2023).

Torch-Pruning answers which single channels go with which; here that becomes ranges of whole
layers, cut wherever some layer takes only part of another's output.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import torch_pruning as tp
from torch import Tensor, nn
from torch_pruning.dependency import index_mapping

from mmcompress.core.errors import CompressionError, first_line
from mmcompress.core.layers.narrow import (
    channels_of,
    groups_of,
    has_protocol,
    is_convolution,
    is_deformable,
    is_depthwise,
    is_narrowable,
    is_pass_through,
)
from mmcompress.core.layers.stand_ins import fixed_layers, parts_added_up, traceable
from mmcompress.core.probe.probe import Probe, tensors_in
from mmcompress.core.probe.trace import Recorder

from .config import ChannelRange, UnitConfig

#: Operations of autograd that make pixels of channels, or the other way round.
SHUFFLES = ('PixelShuffle', 'PixelUnshuffle')


#: Why channels can't be followed through operations that move them about.
SHUFFLED = 'its channels are shuffled on their way'


@contextmanager
def _reshapes_that_fit() -> Iterator[None]:
    """Inside, Torch-Pruning leaves alone a reshape of which it can't count the channels.

    It takes none for their number where the images reach the reshape past all layers, and divides
    by that. Units through such a reshape are found out when they are verified.
    """
    update = index_mapping.update_reshape_index_mapping

    def fitting(graph: Any, node: Any) -> None:
        with suppress(ZeroDivisionError):
            update(graph, node)

    index_mapping.update_reshape_index_mapping = fitting
    try:
        yield
    finally:
        index_mapping.update_reshape_index_mapping = update


class CouplingGraph:
    """Which channels of a model go together.

    Args:
        model: A working copy (see :func:`~mmcompress.core.probe.probe.working_copy`).
        probe: How to run it.
        wanted: Whether to look at the output channels of the convolution of this name.
    """

    def __init__(
        self, model: nn.Module, probe: Probe, wanted: Callable[[str], bool] = lambda name: True
    ) -> None:
        self.wanted = wanted
        self.modules = dict(model.named_modules())
        self.names = {module: name for name, module in self.modules.items()}
        self.order = {name: i for i, name in enumerate(self.modules)}
        self.parts = parts_added_up(model)
        self.fixed = fixed_layers(model)
        self.graph = tp.DependencyGraph()
        for kind in {type(m) for m in model.modules() if has_protocol(m) or is_deformable(m)}:
            self.graph.register_customized_layer(kind, _ProtocolPruner())
        recorder = Recorder()

        def forward(model: nn.Module, _: None) -> list[Tensor]:
            with recorder.recording(model), traceable(model):
                results = [t for t in tensors_in(probe.run(model)) if t.grad_fn is not None]
            return recorder.boundary(results, lambda layer: self._is_root(layer))

        try:
            with _reshapes_that_fit():
                self.graph.build_dependency(
                    model, example_inputs=None, forward_fn=forward, verbose=False
                )
        except Exception as error:  # Torch-Pruning's, or of a forward pass with stand-ins
            raise CompressionError(
                f'channels cannot be followed through {type(model).__name__}: '
                f'{type(error).__name__}: {error}'
            ) from error
        self._budget = _Budget(self.graph)
        #: Why channels of layers can't be followed.
        self._entangled: dict[nn.Module, str] = {}

    def units(self) -> Iterator[tuple[UnitConfig, str]]:
        """Units of the output channels of wanted convolutions, each channel once.

        Yields:
            A unit, and why it can't be narrowed (``''`` if nothing speaks against it).
        """
        taken: set[tuple[str, int]] = set()
        covered: Counter[str] = Counter()
        for name in self._roots():
            width = channels_of(self.modules[name])[1]
            if covered[name] == width:
                continue
            for start, unit, why in self._units_of(name, width):
                if (name, start) not in taken:
                    for channel in unit.producers:
                        taken.add((channel.name, channel.start))
                        covered[channel.name] += channel.end - channel.start
                    yield unit, why

    def _roots(self) -> list[str]:
        """Wanted convolutions that the forward pass ran, in the order of the model's modules."""
        return sorted(
            (self.names[module] for module in self.graph.module2node if self._is_root(module)),
            key=self.order.__getitem__,
        )

    def _is_root(self, module: Any) -> bool:
        """Depthwise convolutions pass channels through; what feeds them is the root."""
        return (
            module in self.names
            and is_convolution(module)
            and not is_depthwise(module)
            and self.wanted(self.names[module])
        )

    def _units_of(self, name: str, width: int) -> Iterator[tuple[int, UnitConfig, str]]:
        """Units of one root's output: cut wherever some layer takes only part of it."""
        root = self.modules[name]
        if name in self.fixed:
            whole = UnitConfig(width, 1, [ChannelRange(name, 0, width, True)])
            yield 0, whole, 'its channels are counted off into attention heads'
            return
        # Parts that are added up are one unit, which the first of them leads to.
        width //= self.parts.get(name, 1)
        group = self._group_of(root, width)
        if isinstance(group, str):
            whole = UnitConfig(width, 1, [ChannelRange(name, 0, width, True)])
            yield 0, whole, group
            return
        runs, reason = self._runs_of(group)
        cuts = {0, width}.union(*((run.root_start, run.root_end) for run in runs))
        # One channel at a time is what a permutation looks like.
        if len(cuts) == width + 1 and width > 1:
            reason = reason or 'its channels are permuted one by one'
        for start, end in pairwise(sorted(cuts)):
            channels = {
                run.part(start, end)
                for run in runs
                if run.root_start <= start and end <= run.root_end
            }
            unit = UnitConfig(end - start, 1, sorted(channels, key=self._rank))
            unit.divisor, why = required_divisor(unit, self.modules)
            yield start, unit, reason or why

    def _group_of(self, root: nn.Module, width: int) -> tp.dependency.Group | str:
        """Torch-Pruning's group of all output channels, or why there is none."""
        if root in self._entangled:
            return self._entangled[root]
        prune = self.graph.get_pruner_of_module(root).prune_out_channels
        self._budget.reset()
        try:
            with _reshapes_that_fit():  # it maps all indices anew
                return self.graph.get_pruning_group(root, prune, list(range(width)))
        except _EntangledError:
            why = SHUFFLED
        except Exception as error:  # Torch-Pruning's, where it has lost count of the channels
            reason = first_line(error, type(error).__name__)
            why = f'its channels cannot be followed: {type(error).__name__}: {reason}'
        # Whatever was met on the way is part of the same tangle.
        self._entangled |= dict.fromkeys((root, *self._budget.met), why)
        return why

    def _rank(self, channel: ChannelRange) -> tuple[bool, int, int]:
        """Producers first: a unit is named after the first of them."""
        passes = is_pass_through(self.modules[channel.name])
        return passes, self.order[channel.name], channel.start

    def _runs_of(self, group: tp.dependency.Group) -> tuple[list[_Run], str]:
        """Runs of coupled channels in a group, and what in it can't be narrowed."""
        runs: list[_Run] = []
        reason = ''
        for item in group:
            layer = item.dep.target.module
            if isinstance(layer, nn.Parameter):
                name = self.graph._param_to_name.get(layer, 'a parameter')
                reason = reason or f'its channels are those of the bare parameter {name}'
                continue
            if layer not in self.names:
                # Concatenation, addition, reshape: nothing of it is stored.
                if str(getattr(layer, '_grad_fn', '')).startswith(SHUFFLES):
                    reason = reason or 'a pixel shuffle makes pixels of its channels'
                continue
            name = self.names[layer]
            if not is_narrowable(layer):
                kind = type(layer).__name__
                reason = reason or f'{name} is a {kind}, whose channels are not known'
                continue
            sides: tuple[bool, ...] = (False, True)
            if not is_pass_through(layer):
                sides = (self.graph.is_out_channel_pruning_fn(item.dep.handler),)
            for is_output in sides:
                runs.extend(_runs(name, is_output, item.idxs, item.root_idxs))
        return runs, reason


@dataclass(frozen=True)
class _Run:
    """Consecutive indices of a layer that stand for consecutive channels of the root."""

    name: str
    is_output: bool
    root_start: int
    root_end: int
    start: int
    each: int

    def part(self, root_start: int, root_end: int) -> ChannelRange:
        """The layer's indices for some of the root's channels."""
        first = self.start + (root_start - self.root_start) * self.each
        last = first + (root_end - root_start) * self.each
        return ChannelRange(self.name, first, last, self.is_output)


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


def required_divisor(unit: UnitConfig, modules: dict[str, nn.Module]) -> tuple[int, str]:
    """What a width must be a multiple of, and why no width will do, if so."""
    divisor = 1
    for channel in unit.channels:
        layer = modules[channel.name]
        groups = groups_of(layer, channel.is_output)
        if groups == 1:
            continue
        width = channels_of(layer)[channel.is_output]
        size = channel.end - channel.start
        here = sum(
            other.end - other.start
            for other in unit.channels
            if (other.name, other.is_output) == (channel.name, channel.is_output)
        )
        if here != width or groups * size % width:
            return 1, f'it is only part of the grouped layer {channel.name}'
        divisor = math.lcm(divisor, groups * size // width)
    if unit.num_channels % divisor:
        return 1, f'its {unit.num_channels} channels are not a multiple of {divisor} groups'
    return divisor, ''


class _ProtocolPruner(tp.BasePruningFunc):
    """Tells Torch-Pruning the widths of a module that brings its own ``narrow``."""

    def prune_out_channels(self, layer: nn.Module, idxs: Sequence[int]) -> nn.Module:
        return layer

    def prune_in_channels(self, layer: nn.Module, idxs: Sequence[int]) -> nn.Module:
        return layer

    def get_out_channels(self, layer: Any) -> int:
        return layer.out_channels

    def get_in_channels(self, layer: Any) -> int:
        return layer.in_channels


class _EntangledError(Exception):
    """A group has no end."""


class _Budget:
    """Stops Torch-Pruning where its search for a group has no end in sight.

    A channel shuffle sends it round in circles: every turn maps indices to others, so that it ends
    only when all combinations have been seen, after minutes. The largest groups of ResNet-50,
    DenseNet-121 and Faster R-CNN visit a quarter of all dependencies, those of Res2Net four
    fifths. A product of feature maps has it count pixels for channels, by the million.

    Args:
        graph: Built; its dependencies report to the budget from now on.
    """

    #: Indices mapped for one group; ResNet-50's largest takes thirty thousand.
    INDICES = 2_000_000

    def __init__(self, graph: tp.DependencyGraph) -> None:
        dependencies = [d for node in graph.module2node.values() for d in node.dependencies]
        self.limit = max(len(dependencies), 1000)
        self.is_output = graph.is_out_channel_pruning_fn
        self.reset()
        for dependency in dependencies:
            dependency.is_triggered_by = self._watch(dependency)
            dependency.index_mapping = _Mappings(dependency.index_mapping, self)

    def reset(self) -> None:
        """Begin a new group."""
        self.left = self.limit
        self.indices = self.INDICES
        self.met: set[nn.Module] = set()

    def spend(self, indices: int) -> None:
        """Take note of a mapping's result.

        Raises:
            _EntangledError: If the budget is used up.
        """
        self.indices -= indices
        if self.indices < 0:
            raise _EntangledError

    def _watch(self, dependency: tp.dependency.Dependency) -> Callable[[Callable], bool]:
        is_triggered_by = dependency.is_triggered_by

        def watched(pruning_fn: Callable) -> bool:
            if not is_triggered_by(pruning_fn):
                return False
            if self.is_output(dependency.handler):
                self.met.add(dependency.target.module)
            self.left -= 1
            if self.left < 0:
                raise _EntangledError
            return True

        return watched


class _Mappings(list):
    """A dependency's index mappings, which report how many indices they return."""

    def __init__(self, mappings: list[Callable | None], budget: _Budget) -> None:
        super().__init__(mappings)
        self.budget = budget

    def __iter__(self) -> Iterator[Callable | None]:
        return (mapping and partial(self._map, mapping) for mapping in super().__iter__())

    def _map(self, mapping: Callable, indices: Any) -> Any:
        mapped = mapping(indices)
        self.budget.spend(len(mapped))
        return mapped
