"""DependencyAnalyzer: which channels of an architecture must go together.

The coupling comes from :mod:`~mmcompress.core.channels.graph`, run on the model's real forward
pass. Every unit that comes out has been checked by narrowing it and running the model.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from mmengine.logging import print_log
from torch import nn

from mmcompress.core.base.names import backbones_of, demo_shape, matches, name_list, twins_of
from mmcompress.core.errors import CompressionError, first_line
from mmcompress.core.layers.narrow import is_pass_through
from mmcompress.core.layers.weights import not_own_weights
from mmcompress.core.probe.example import Demo
from mmcompress.core.probe.probe import Probe, few_proposals, restored, seeded, working_copy
from mmcompress.registry import TASK_UTILS

from .config import UnitConfig, narrow_units, with_twins


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
            a name includes what is inside of it. ``None`` means ``backbone``, or what is called
            so further inside (a tracker's ``detector.backbone``).
        exclude: Names that may not, even though included.
        input_shape: ``(N, C, H, W)`` of the demo batch; ``None`` finds one.

    Example:
        >>> analyzer = DependencyAnalyzer()
        >>> units = analyzer.analyze(resnet18).units
        >>> units['backbone.layer1.0.conv1_(0, 64)_64'].num_channels
        64
    """

    def __init__(
        self,
        include: Sequence[str] | str | None = None,
        exclude: Sequence[str] | str = (),
        input_shape: Demo = None,
    ) -> None:
        self.include = [] if include is None else name_list(include, 'include')
        self._include_backbones = include is None
        self.exclude = name_list(exclude, 'exclude')
        self.input_shape = demo_shape(input_shape)

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
        if self._include_backbones:
            self.include = backbones_of(model)
        self._check_patterns(model)
        with seeded(), torch.enable_grad(), warnings.catch_warnings():
            warnings.simplefilter('ignore')
            work = few_proposals(working_copy(model))
            probe = Probe(work, self.input_shape)
            found, rejected = self._units(work, probe)
            return self._verify(work, probe, found, rejected)

    # Units from the dependency graph

    def _units(self, model: nn.Module, probe: Probe) -> tuple[list[UnitConfig], dict[str, str]]:
        # Only here, for it imports Torch-Pruning.
        from .graph import CouplingGraph

        units: list[UnitConfig] = []
        rejected: dict[str, str] = {}
        twins, foreign = twins_of(model), not_own_weights(model)
        for unit, why in CouplingGraph(model, probe, self._wanted).units():
            why = why or self._outside(unit, model)
            for channel in () if why else unit.channels:
                if channel.name in foreign:
                    why = f'one of its layers has {foreign[channel.name]} ({channel.name})'
            if why:
                rejected[unit.name] = why
            else:
                units.append(with_twins(unit, twins))
        return units, rejected

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
        widths = dict(zip((unit.name for unit in found), _probing_widths(found), strict=True))
        good: list[UnitConfig] = []

        def failure(units: list[UnitConfig]) -> str:
            return _failure(model, probe, [(u, widths[u.name]) for u in units])

        def search(layers: list[list[UnitConfig]]) -> None:
            units = [unit for layer in layers for unit in layer]
            why = failure(good + units)
            if not why:
                good.extend(units)
            elif len(layers) > 1:
                search(layers[: len(layers) // 2])
                search(layers[len(layers) // 2 :])
            elif len(units) > 1:
                for unit in units:
                    search([[unit]])
            else:
                rejected[units[0].name] = why

        # The parts of one layer, behind a split, mostly stand or fall together.
        by_layer: dict[str, list[UnitConfig]] = {}
        for unit in found:
            by_layer.setdefault(unit.producers[0].name, []).append(unit)
        if found:
            search(list(by_layer.values()))
        return Analysis({unit.name: unit for unit in good}, rejected, probe.unreached)


def log_analysis(analysis: Analysis) -> None:
    """Write what was found, and what could not be used and why, to the run's log."""
    print_log(f'{len(analysis.units)} channel units can be narrowed', logger='current')
    for name, reason in analysis.rejected.items():
        print_log(f'left alone: {name}: {reason}', logger='current')


def fault_of(model: nn.Module, units: list[UnitConfig], input_shape: Demo = None) -> str:
    """Narrow units that somebody wrote down, and run the model.

    Args:
        model: A dense architecture; left as it is.
        units: Units that fit its layers.
        input_shape: As for the analyzer.

    Returns:
        What goes wrong, or ``''``.
    """
    with seeded():
        work = few_proposals(working_copy(model))
        probe = Probe(work, input_shape)
        widths = list(zip(units, _probing_widths(units), strict=True))
        return _failure(work, probe, widths)


def _failure(
    model: nn.Module,
    probe: Probe,
    widths: list[tuple[UnitConfig, int]],
) -> str:
    """What goes wrong when units are narrowed, ``''`` if the outputs keep their shapes."""
    try:
        with restored(model):
            narrow_units(model, widths)
            if probe.signature(model) != probe.reference:
                return 'narrowing it changes the shape of the outputs of the model'
    except Exception as error:  # whatever a user's forward raises on wrong shapes
        return f'narrowing it breaks the forward pass: {first_line(error, type(error).__name__)}'
    return ''


def _probing_widths(units: list[UnitConfig]) -> list[int]:
    """About half of each unit, and different for units that stand close to each other.

    Two channels at least for each group: group norms refuse a single number, which a small demo
    batch leaves of a group.
    """
    widths = []
    for position, unit in enumerate(units):
        steps = unit.num_channels // unit.divisor
        least = 2 if unit.divisor > 1 and steps > 2 else 1
        few = least + (steps // 2 + position) % (steps - least) if steps > least else 1
        widths.append(unit.divisor * few)
    return widths
