"""A budget of MACs or parameters -> one keep ratio for every channel unit.

The dense architecture is counted once. From then on the cost of any choice of widths is a sum
over layers: a convolution or linear layer costs in proportion to the share of its inputs times
the share of its outputs that are kept, a norm or depthwise convolution in proportion to its
channels; operations outside of layers, where they matter, are counted again. All units get one
common keep ratio, within the limits that the config sets them; what rounding leaves of the budget
goes to those that lost most.
"""

from __future__ import annotations

import bisect
import copy
import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from mmengine.analysis import FlopAnalyzer
from mmengine.model import BaseModel
from torch import nn
from torch.nn.modules.conv import _ConvNd

from mmcompress.core.base.budget import AUTO, COSTS, KEY, NAMES, Budget, step_of
from mmcompress.core.base.units_file import keep_ratios
from mmcompress.core.errors import CompressionError, first_line
from mmcompress.core.layers.narrow import channels_of, has_protocol, is_narrowable, is_pass_through
from mmcompress.core.probe.counter import PREFIX, count
from mmcompress.core.probe.demo_inputs import SIZES, demo_batch, library_of
from mmcompress.core.probe.example import Example
from mmcompress.core.probe.probe import Probe, seeded, working_copy

from .config import UnitConfig, narrow_units

#: Where operations outside of layers hold more than this share of the MACs, narrowed networks
#: are counted, too, until what isn't computed is known to this share of the goal.
RESIDUAL = 1e-3
#: How much of a goal may be left unused when limits, not rounding, are the reason.
PRECISION = 0.01


@dataclass(frozen=True)
class Solution:
    """Keep ratios that meet a budget.

    Attributes:
        ratios: By unit name; as ``target_pruning_ratio`` they give exactly these widths.
        reached: ``macs`` and ``params`` of the narrowed architecture.
        dense: The same of the dense one.
        input_shape: ``(channels, height, width)`` that MACs were counted with.
    """

    ratios: dict[str, float]
    reached: dict[str, int]
    dense: dict[str, int]
    input_shape: tuple[int, ...]

    def __str__(self) -> str:
        parts = [
            f'{self.reached[cost]:,} of {self.dense[cost]:,} {NAMES[cost]} '
            f'({self.reached[cost] / max(self.dense[cost], 1):.4f})'
            for cost in COSTS
        ]
        return f'{parts[0]} and {parts[1]} at {_by(self.input_shape)}'


def solve(
    model: nn.Module,
    units: Mapping[str, UnitConfig],
    budget: Budget,
    input_shape: tuple[int, ...] | Example | None = None,
) -> Solution:
    """Find the keep ratios of a budget.

    The answer depends on the architecture alone, not on its weights or on chance, so that
    a config with a budget always builds the same network. It doesn't exceed the budget, and
    falls short of it by less than one step of a unit.

    Args:
        model: The dense architecture; left as it is.
        units: Its units by name.
        budget: What to reach.
        input_shape: Of the image to count with, where the budget doesn't say, or inputs that a
            user gives. ``None``: a size
            common in the model's library, or else the analyzer's demo batch.
            Where all layers work on feature maps, relative MACs hardly depend on it; where
            heads work on a fixed number of proposals, they do.

    Raises:
        CompressionError: If the budget can't be met, or its patterns match nothing.
    """
    with seeded(), warnings.catch_warnings():
        warnings.simplefilter('ignore')
        counted = Counted(model, budget.input_shape or input_shape)
        costs = Costs(model, counted, units)
        goals = goals_of(budget, counted)
        steps = _Steps(units, budget)
        return _search(model, counted, costs, goals, steps)


def _search(
    model: nn.Module,
    counted: Counted,
    costs: Costs,
    goals: dict[str, float],
    steps: _Steps,
) -> Solution:
    """The widths that use the goals up, for what is computed and what has to be counted."""
    units = list(steps.units.values())

    def count_of(widths: list[int]) -> dict[str, int]:
        return counted.narrowed(list(zip(units, widths, strict=True)))

    def fill(rest: float) -> list[int]:
        within = {cost: goal - rest * (cost == 'macs') for cost, goal in goals.items()}
        return steps.fill(lambda widths: costs.fit(widths, within))

    def rest_of(widths: list[int]) -> int:
        return measure(widths)['macs'] - costs.of(widths)['macs']

    computable = counted.outside_layers <= RESIDUAL * counted.dense['macs']
    measure = costs.of if computable else count_of
    _check_reach(goals, measure(steps.lowest), measure(steps.highest), counted)
    # What isn't computed grows with the widths, nobody knows how: it is at most `high`.
    low: float = rest_of(steps.lowest)
    high: float = rest_of(steps.highest)
    widths = fill(high)
    while high - low > RESIDUAL * goals.get('macs', math.inf):
        middle = (low + high) / 2
        wider = fill(middle)
        if rest_of(wider) <= middle:
            widths, high = wider, middle
        else:
            low = middle
    ratios = {
        name: width / unit.num_channels
        for (name, unit), width in zip(steps.units.items(), widths, strict=True)
    }
    return Solution(ratios, measure(widths), counted.dense, counted.input_shape)


def goals_of(budget: Budget, counted: Counted) -> dict[str, float]:
    """What may be spent, in MACs and parameters."""
    goals = {}
    for cost in COSTS:
        goal = getattr(budget, cost)
        if goal is None:
            continue
        dense = counted.dense[cost]
        if goal > dense:
            raise CompressionError(
                f'{KEY}.{cost} is {_short(goal)}, more than the dense architecture has: '
                f'{_short(dense)} {NAMES[cost]}{counted.at(cost)}'
            )
        goals[cost] = goal * dense if goal <= 1 else goal
    return goals


def _check_reach(
    goals: dict[str, float], least: dict[str, int], most: dict[str, int], counted: Counted
) -> None:
    """See that the limits of the units leave room for the goals.

    Raises:
        CompressionError: If even the narrowest network costs more, or the widest one uses
            nothing up.
    """
    for cost, goal in goals.items():
        dense = counted.dense[cost]
        if least[cost] > goal:
            raise CompressionError(
                f'{KEY}.{cost} asks for {_short(goal)} of {_short(dense)} {NAMES[cost]} '
                f'({goal / dense:.4g}){counted.at(cost)}; the smallest that can be reached with '
                f'this min_ratio and divisor is {_short(least[cost])} ({least[cost] / dense:.4f})'
            )
    if all(most[cost] < (1 - PRECISION) * goal for cost, goal in goals.items()):
        largest = ' and '.join(
            f'{_short(most[cost])} {NAMES[cost]} ({most[cost] / counted.dense[cost]:.4f})'
            for cost in goals
        )
        raise CompressionError(
            f'{KEY}: with this max_ratio no network uses the budget up; the largest has {largest}'
        )


def allowed_widths(
    units: Mapping[str, UnitConfig], budget: Budget, divisor: int | str
) -> dict[str, list[int]]:
    """The widths that a budget leaves each unit, ascending.

    Args:
        units: Units by name.
        budget: With the limits.
        divisor: That of the budget, or what stands for its ``'auto'``.

    Raises:
        CompressionError: If the limits leave a unit no width.
    """
    low = keep_ratios(budget.min_ratio, units, f'{KEY}.min_ratio', default=0.1)
    high = keep_ratios(budget.max_ratio, units, f'{KEY}.max_ratio')
    allowed: dict[str, list[int]] = {}
    for name, unit in units.items():
        dense = unit.num_channels
        step = step_of(dense, unit.divisor, divisor, shrink=budget.divisor == AUTO)
        allowed[name] = [
            width
            for width in [*range(step, dense, step), dense]
            # 0.29 * 100 is 28.999999999999996 in floating point and means 29.
            if low[name] * dense - 1e-6 <= width <= high[name] * dense + 1e-6
        ]
        if not allowed[name]:
            raise CompressionError(
                f'{KEY}: unit {name!r} has no width between min_ratio {low[name]:g} and '
                f'max_ratio {high[name]:g} of its {dense} channels that is a multiple of {step}'
            )
    return allowed


class _Steps:
    """The widths that units may have, and the order in which they are taken.

    Args:
        units: Units by name.
        budget: With the limits.

    Raises:
        CompressionError: If the limits leave a unit no width.
    """

    def __init__(self, units: Mapping[str, UnitConfig], budget: Budget) -> None:
        self.units = dict(units)
        self.allowed = list(allowed_widths(units, budget, budget.divisor).values())
        self.lowest = [widths[0] for widths in self.allowed]
        self.highest = [widths[-1] for widths in self.allowed]

    def at(self, ratio: float) -> list[int]:
        """The widths of a common keep ratio: the largest allowed that are not above it."""
        return [
            widths[max(bisect.bisect_right(widths, ratio * unit.num_channels + 1e-6) - 1, 0)]
            for widths, unit in zip(self.allowed, self.units.values(), strict=True)
        ]

    def fill(self, fits: Callable[[list[int]], bool]) -> list[int]:
        """The widths of the largest common keep ratio that fits, and what still fits on top.

        Args:
            fits: Whether widths are within the budget; the lowest ones are.
        """
        dense = [unit.num_channels for unit in self.units.values()]
        pairs = list(zip(self.allowed, dense, strict=True))
        ratios = sorted({width / total for widths, total in pairs for width in widths})
        last = bisect.bisect_left(ratios, True, key=lambda ratio: not fits(self.at(ratio))) - 1
        chosen = self.at(ratios[last]) if last >= 0 else list(self.lowest)
        # Every unit may take one more step, those first that are furthest behind.
        following = []
        for index, (widths, total) in enumerate(pairs):
            position = widths.index(chosen[index]) + 1
            if position < len(widths):
                following.append((widths[position] / total, index, widths[position]))
        for _, index, width in sorted(following):
            wider = [*chosen[:index], width, *chosen[index + 1 :]]
            if fits(wider):
                chosen = wider
        return chosen


@dataclass
class Costs:
    """Cost of any choice of widths, in closed form.

    A layer costs ``pairs * in * out + singles * out``, where ``in`` and ``out`` are its kept
    channels; both are linear in the widths of the units. What no unit touches is in ``constant``.
    """

    model: nn.Module
    counted: Counted
    units: Mapping[str, UnitConfig]
    pairs: dict[str, np.ndarray] = field(init=False)
    singles: dict[str, np.ndarray] = field(init=False)
    constant: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        modules = dict(self.model.named_modules())
        touched: dict[str, list[tuple[bool, int, float]]] = {}
        for index, unit in enumerate(self.units.values()):
            for channel in unit.channels:
                each = (channel.end - channel.start) / unit.num_channels
                touched.setdefault(channel.name, []).append((channel.is_output, index, each))
        self._dense = np.array([unit.num_channels for unit in self.units.values()], float)
        shape = (2, len(touched), len(self.units))
        self._each = np.zeros(shape)
        self._channels = np.zeros(shape[:2])
        coefficients = np.zeros((2, 2, len(touched)))
        for row, (name, uses) in enumerate(touched.items()):
            layer = modules[name]
            self._channels[:, row] = channels_of(layer)
            for is_output, index, each in uses:
                self._each[int(is_output), row, index] += each
            if is_pass_through(layer) and not self._each[1, row].any():
                self._each[1, row] = self._each[0, row]
            ins, outs = self._channels[:, row]
            for column, parts in enumerate(self._parts(name, layer)):
                coefficients[column, :, row] = parts[0] / (ins * outs), parts[1] / outs
        self.pairs = {cost: coefficients[i, 0] for i, cost in enumerate(COSTS)}
        self.singles = {cost: coefficients[i, 1] for i, cost in enumerate(COSTS)}
        self.constant = dict.fromkeys(COSTS, 0)
        dense = self.of([unit.num_channels for unit in self.units.values()])
        self.constant = {cost: self.counted.dense[cost] - dense[cost] for cost in COSTS}

    def _parts(self, name: str, layer: nn.Module) -> tuple[tuple[int, int], tuple[int, int]]:
        """What scales with both sides of a layer and with one: of its MACs, its parameters."""
        own = list(layer.parameters())
        macs = self.counted.macs[name]
        if is_pass_through(layer):
            # The single slope of a PReLU doesn't scale.
            return (0, macs), (0, sum(p.numel() for p in own if p.numel() > 1))
        matrices = sum(p.numel() for p in own if p.dim() > 1)
        vectors = sum(p.numel() for p in own if p.dim() == 1)
        return (macs, 0), (matrices, vectors)

    def of(self, widths: list[int]) -> dict[str, int]:
        """``macs`` and ``params`` of the architecture with these widths of its units."""
        gone = self._dense - np.array(widths, float)
        ins, outs = self._channels - self._each @ gone
        return {
            cost: self.constant[cost]
            + round(float(self.pairs[cost] @ (ins * outs) + self.singles[cost] @ outs))
            for cost in COSTS
        }

    def fit(self, widths: list[int], goals: Mapping[str, float]) -> bool:
        """Whether widths cost no more than ``goals`` allow."""
        costs = self.of(widths)
        return all(costs[cost] <= goal for cost, goal in goals.items())


class Counted:
    """A copy of an architecture that is counted, dense and narrowed.

    Its weights are drawn anew from a fixed seed: how many proposals a detector's heads see
    depends on them.

    Args:
        model: The dense architecture.
        input_shape: ``(channels, height, width)`` to count with, or inputs that a user gives;
            ``None`` finds a shape.

    Attributes:
        dense: ``macs`` and ``params`` of the dense architecture.
        macs: MACs of every narrowable layer by name.
        outside_layers: MACs that aren't those of convolutions, linear layers and norms, such as
            matrix products of attention. How they change with the widths isn't known.
        input_shape: What is counted with.
    """

    def __init__(self, model: nn.Module, input_shape: tuple[int, ...] | Example | None) -> None:
        self._work = working_copy(model)
        for module in self._work.modules():
            reset = getattr(module, 'reset_parameters', None)
            if callable(reset):
                reset()
        flops = self._first(input_shape)
        by_module = flops.by_module()
        layers = {name: m for name, m in model.named_modules() if is_narrowable(m)}
        self.macs = {name: int(by_module[PREFIX + name]) for name in layers}
        known = (name for name, layer in layers.items() if not has_protocol(layer))
        self.outside_layers = int(flops.total()) - sum(self.macs[name] for name in known)
        params = sum(p.numel() for p in model.parameters())
        # Not all parameters need to be in the working copy.
        self._unseen = params - sum(p.numel() for p in self._work.parameters())
        self.dense = dict(macs=int(flops.total()), params=params)

    def at(self, cost: str) -> str:
        """The image size, for costs that depend on it."""
        return f' at {_by(self.input_shape)}' if cost == 'macs' else ''

    def narrowed(self, widths: list[tuple[UnitConfig, int]]) -> dict[str, int]:
        """``macs`` and ``params`` with these widths of the units."""
        trial = copy.deepcopy(self._work)
        narrow_units(trial, widths)
        params = sum(p.numel() for p in trial.parameters()) + self._unseen
        return dict(macs=int(self._count(trial).total()), params=params)

    def _first(self, given: tuple[int, ...] | Example | None) -> FlopAnalyzer:
        """The first count that succeeds, of the image sizes and modes worth trying."""
        self._example = given if isinstance(given, Example) else None
        if isinstance(given, Example):
            given = tuple(given.images.shape[1:])
        shapes = [tuple(given)] if given else list(self._default_shapes())
        tensor_only = not isinstance(self._work, BaseModel)
        failure: Any = None
        for shape in [*shapes, None]:
            if shape is None:
                if given:
                    break
                shape = tuple(Probe(self._work).shape[1:])
            self.input_shape = shape
            for self._mode in ('tensor',) if tensor_only else ('tensor', 'predict', 'loss'):
                try:
                    if self._example is None:
                        self._batch = demo_batch(self._work, (1, *shape), self._mode)
                    return self._count(self._work)
                except Exception as error:  # whatever a user's model raises on a demo batch
                    failure = failure or error
        raise CompressionError(
            f'{KEY}: the MACs of {type(self._work).__name__} cannot be counted at '
            f'{_by(self.input_shape)} ({type(failure).__name__}: {first_line(failure)}); give '
            f'{KEY}.input_shape a size that the model works on'
        ) from failure

    def _default_shapes(self) -> list[tuple[int, ...]]:
        size = SIZES.get(library_of(self._work))
        first = next((m for m in self._work.modules() if isinstance(m, _ConvNd)), None)
        if size is None or first is None or len(first.kernel_size) != 2:
            return []
        return [(first.in_channels, *size)]

    def _count(self, model: nn.Module) -> FlopAnalyzer:
        forward: Callable[..., Any] = model
        mode: dict[str, Any] = dict(mode=self._mode) if isinstance(model, BaseModel) else {}
        if self._example is not None:
            inputs: Any = self._example.images
            forward = partial(self._example.run, model, **mode)
        else:
            inputs, samples = self._batch
            if mode:
                # Some heads write into the samples they are given.
                forward = partial(model, data_samples=copy.deepcopy(samples), **mode)
        with seeded():
            return count(model, inputs, forward)


def _short(amount: float) -> str:
    for power, suffix in ((1e9, 'G'), (1e6, 'M'), (1e3, 'k')):
        if amount >= power:
            return f'{amount / power:.4g}{suffix}'
    return f'{amount:g}'


def _by(shape: tuple[int, ...]) -> str:
    return 'x'.join(map(str, shape))
