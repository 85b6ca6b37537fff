"""A budget of parameters of the whole model -> one keep ratio for all filter units."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from mmengine.logging import print_log
from torch import nn

from mmcompress.core.base.budget import KEY
from mmcompress.core.checks import is_number
from mmcompress.core.errors import CompressionError, nearest
from mmcompress.core.layers.copying import copied

from .unit import FilterUnit

#: Keep ratios are multiples of one part in so many.
PARTS = 10_000


def params_of(budget: Any) -> float:
    """What ``budget=dict(params=...)`` asks for: a share of the dense model, or a number above 1.

    Args:
        budget: Of the config. ``input_shape``, which is about MACs, plays no part.

    Raises:
        CompressionError: If it is anything else.
    """
    if not isinstance(budget, Mapping):
        raise CompressionError(f'{KEY} is {budget!r}; it has to be a dict such as dict(params=0.5)')
    for key in budget:
        if key not in ('params', 'input_shape'):
            raise CompressionError(
                f'{KEY}.{key} is for methods that remove channels; filter units are given a '
                f'{KEY} of params or latency, shares of the whole model, or target_pruning_ratio, '
                'a share of their own parameters'
            )
    value: Any = budget.get('params')
    if not is_number(value) or value <= 0:
        raise CompressionError(
            f'{KEY}.params is {value!r}; it has to be a share of the parameters of the dense '
            'model, above 0 and at most 1, or a number such as 5.6e6'
        )
    return float(value)


def ratios_within(
    budget: float, units: Mapping[str, FilterUnit], architecture: nn.Module
) -> dict[str, float]:
    """The largest common keep ratio that a whole model can afford.

    Units that can't be as small keep what they have to.

    Args:
        budget: Parameters of the whole model, see :func:`params_of`.
        units: By name; those that have a size, or a keep ratio, keep it.
        architecture: Dense; left as it is.

    Returns:
        Keep ratios of the other units by name.

    Raises:
        CompressionError: If no ratio is small enough.
    """
    work = copied(architecture).to('meta')
    free = {n: u for n, u in units.items() if not u.has_size and u.choice is None}
    dense = sum(parameter.numel() for parameter in work.parameters())
    goal = budget * dense if budget <= 1 else budget
    if goal > dense:
        raise CompressionError(
            f'{KEY}.params is {budget:,.0f}, more than the {dense:,} of the dense model'
        )
    if not free:
        raise CompressionError(
            f'{KEY} finds keep ratios for units without a size, and there is none: remove {KEY}, '
            f'or the sizes of {nearest("", units)} ...'
        )
    least = {name: _least(unit, work) for name, unit in free.items()}

    def ratios(part: int) -> dict[str, float]:
        return {name: max(part, low) / PARTS for name, low in least.items()}

    def left(part: int) -> int:
        return _parameters(units, ratios(part), work)

    if left(1) > goal:
        raise CompressionError(
            f'{KEY}.params asks for {goal / dense:.4g} of the whole model; the smallest that can '
            f'be reached with these units is {left(1) / dense:.4f}'
        )
    low, high = 1, PARTS
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if left(middle) <= goal else (low, middle)
    reached = left(low)
    print_log(
        f'{KEY}: {reached:,} of {dense:,} parameters ({reached / dense:.4f}): every unit keeps '
        f'{low / PARTS:g} of its own',
        logger='current',
    )
    return ratios(low)


def _least(unit: FilterUnit, architecture: nn.Module) -> int:
    """The smallest keep ratio that a unit can have, in :data:`PARTS`."""

    def settles(part: int) -> bool:
        try:
            _with_choice(unit, part / PARTS).measure(architecture)
        except CompressionError:
            return False
        return True

    low, high = 0, PARTS
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if settles(middle) else (middle, high)
    return high


def _parameters(
    units: Mapping[str, FilterUnit], ratios: Mapping[str, float], architecture: nn.Module
) -> int:
    """Stored parameters of a whole model with these keep ratios."""
    trial = copied(architecture)
    unstored = 0
    for name, unit in units.items():
        if name not in ratios and not unit.has_size and unit.choice in (None, 1):
            continue
        own = _with_choice(unit, ratios.get(name, unit.choice))
        own.measure(trial)
        own.prepare(trial)
        held = {id(p): p.numel() for op in own.ops.values() for p in op.weights()}
        unstored += sum(held.values()) - own.num_parameters
    return sum(parameter.numel() for parameter in trial.parameters()) - unstored


def _with_choice(unit: FilterUnit, choice: float | None) -> FilterUnit:
    """A unit of another keep ratio, not prepared."""
    other = copy.copy(unit)
    other.choice, other.ops, other.places = choice, {}, {}
    return other
