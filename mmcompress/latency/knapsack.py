"""The widths of most value within a time, exactly, where layers join the widths of units.

A layer costs what its input and its output take together, so that units can't be chosen one by one
as in the usual multiple-choice knapsack. Here units are eliminated one after the other: what is
left of a unit is a table over the widths of the units that share a layer with it, and over the time
that is spent. In a network whose layers form a chain, or blocks between residual streams, these
tables are small.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

#: Numbers in the largest table.
LARGEST = 24_000_000
#: Steps that the time is divided into: as many as the tables allow.
STEPS = (1000, 500, 250)
#: How often a limit is lowered for what rounding lets through.
TRIALS = 12
NEVER = np.float32(-np.inf)


@dataclass(frozen=True)
class Cost:
    """Time that depends on some variables together.

    Attributes:
        scope: Names of the variables.
        values: ``float[n, m, ...]`` by their options, in the order of ``scope``.
    """

    scope: tuple[str, ...]
    values: np.ndarray


def choose(
    values: Mapping[str, Sequence[float]], costs: Sequence[Cost], limit: float
) -> dict[str, int] | None:
    """The options of most value whose costs stay within a limit.

    Costs are rounded to a step of the limit (a thousandth, where tables allow for it); within
    this the choice is the best there is. Where rounding lets too much through, less is allowed.

    Args:
        values: By variable, the value of each of its options.
        costs: Sum up to what is spent.
        limit: What may be spent, above 0.

    Returns:
        Index of the option by variable, or ``None`` if nothing is within the limit.

    Raises:
        ValueError: If tables would be too large; see :func:`largest_table`.
    """
    allowed = limit
    for _ in range(TRIALS):
        chosen = _choose(values, costs, allowed)
        if chosen is None:
            return None
        spent = sum(
            float(cost.values[tuple(chosen[name] for name in cost.scope)]) for cost in costs
        )
        if spent <= limit:
            return chosen
        allowed *= min(limit / spent, 1 - 1e-3)
    return None


def _choose(
    values: Mapping[str, Sequence[float]], costs: Sequence[Cost], limit: float
) -> dict[str, int] | None:
    order, size = elimination_order(values, costs)
    steps = next((steps for steps in STEPS if size * (steps + 1) <= LARGEST), None)
    if steps is None:
        raise ValueError(f'a table over {size} choices is too large')
    own = [np.rint(cost.values / limit * steps).astype(int) for cost in costs]
    factors = [_Factor(cost.scope, each, None) for cost, each in zip(costs, own, strict=True)]
    done: list[_Step] = []
    for variable in order:
        with_it = [factor for factor in factors if variable in factor.scope]
        factors = [factor for factor in factors if variable not in factor.scope]
        step = _Step(variable, with_it, values, steps)
        factors.append(step.eliminate())
        done.append(step)
    best = _Fold(factors, values, {}, steps)
    if best.value == NEVER:
        return None
    chosen: dict[str, int] = {}
    spent = best.split()
    for step in reversed(done):
        step.trace(chosen, spent)
    return chosen


def elimination_order(
    values: Mapping[str, Sequence[float]], costs: Sequence[Cost]
) -> tuple[list[str], int]:
    """Variables, the one whose table is smallest first, and the choices in the largest table."""
    near: dict[str, set[str]] = {name: set() for name in values}
    for cost in costs:
        for one, other in itertools.permutations(cost.scope, 2):
            near[one].add(other)
    sizes = {name: len(options) for name, options in values.items()}
    order, largest = [], 1

    def table(name: str) -> int:
        return int(np.prod([float(sizes[one]) for one in (name, *near[name])]))

    while near:
        name = min(near, key=table)
        largest = max(largest, table(name))
        around = near.pop(name)
        for one in around:
            near[one] = (near[one] | around) - {one, name}
        order.append(name)
    return order, largest


@dataclass
class _Factor:
    """Steps that are spent (``values``), or a table of values by steps, which a step has left."""

    scope: tuple[str, ...]
    values: np.ndarray
    step: _Step | None


class _Step:
    """The elimination of one variable."""

    def __init__(
        self,
        variable: str,
        factors: list[_Factor],
        values: Mapping[str, Sequence[float]],
        steps: int,
    ) -> None:
        self.variable, self.factors, self.values, self.steps = variable, factors, values, steps
        names = dict.fromkeys(name for factor in factors for name in factor.scope)
        self.scope = tuple(name for name in names if name != variable)

    def eliminate(self) -> _Factor:
        """The table of what is left: by the options of the scope, then by the steps spent."""
        full = (*self.scope, self.variable)
        shape = [len(self.values[name]) for name in full]
        own = np.asarray(self.values[self.variable], np.float32)
        table = np.repeat(own[:, None], self.steps + 1, axis=1)
        scope: tuple[str, ...] = (self.variable,)
        # Small tables first, so that few joins are over many choices.
        messages = [factor for factor in self.factors if factor.step is not None]
        for index, factor in enumerate(sorted(messages, key=lambda f: f.values.size)):
            wider = tuple(name for name in full if name in scope or name in factor.scope)
            table = _aligned(table, (*scope, ''), (*wider, ''))
            other = _aligned(factor.values, (*factor.scope, ''), (*wider, ''))
            table, other = np.broadcast_arrays(table, other)
            table = table + other if index == 0 else _joined(table, other)
            scope = wider
        table = np.broadcast_to(
            _aligned(table, (*scope, ''), (*full, '')), [*shape, self.steps + 1]
        )
        spent = np.zeros(shape, np.int32)
        for factor in self.factors:
            if factor.step is None:
                spent = spent + _aligned(factor.values, factor.scope, full)
        table = _shifted(table, spent)
        left = table.max(axis=len(full) - 1)
        self._best = table.argmax(axis=len(full) - 1).astype(np.int16)
        return _Factor(self.scope, left, self)

    def trace(self, chosen: dict[str, int], spent: dict[int, int]) -> None:
        """Choose this variable, and say what its messages may spend."""
        place = tuple(chosen[name] for name in self.scope)
        rest = spent[id(self)]
        chosen[self.variable] = int(self._best[(*place, rest)])
        for factor in self.factors:
            if factor.step is None:
                rest -= int(factor.values[tuple(chosen[name] for name in factor.scope)])
        messages = [factor for factor in self.factors if factor.step is not None]
        spent.update(_Fold(messages, self.values, chosen, rest).split())


class _Fold:
    """Messages of one choice joined, and how the steps are split among them."""

    def __init__(
        self,
        factors: list[_Factor],
        values: Mapping[str, Sequence[float]],
        chosen: Mapping[str, int],
        steps: int,
    ) -> None:
        self.factors, self.steps = factors, steps
        lines = [f.values[tuple(chosen[name] for name in f.scope)][: steps + 1] for f in factors]
        self._lines = lines
        self._partial = [np.zeros(steps + 1, np.float32)]
        for line in lines:
            self._partial.append(_joined(self._partial[-1][None], line[None])[0])
        self.value = float(self._partial[-1][steps])

    def split(self) -> dict[int, int]:
        """Steps by ``id`` of the step of elimination that left the message."""
        left, found = self.steps, {}
        for factor, line, before in reversed(
            list(zip(self.factors, self._lines, self._partial[:-1], strict=True))
        ):
            own = int(np.argmax(line[: left + 1] + before[left::-1][: left + 1]))
            found[id(factor.step)] = own
            left -= own
        return found


def _joined(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Best sums of two tables, by the steps that they spend together."""
    total = one.shape[-1]
    found = np.full(one.shape, NEVER, one.dtype)
    for spent in range(total):
        rest = total - spent
        sums = one[..., spent : spent + 1] + other[..., :rest]
        np.maximum(found[..., spent:], sums, out=found[..., spent:])
    return found


def _shifted(table: np.ndarray, spent: np.ndarray) -> np.ndarray:
    """A table whose choices spend some more steps each."""
    total = table.shape[-1]
    found = np.full(table.shape, NEVER, table.dtype)
    lines, shifted = table.reshape(-1, total), found.reshape(-1, total)
    for line, target, more in zip(lines, shifted, spent.reshape(-1), strict=True):
        if more < total:
            target[more:] = line[: total - more]
    return found


def _aligned(values: np.ndarray, scope: tuple[str, ...], full: tuple[str, ...]) -> np.ndarray:
    """A table over some of the variables, laid out for all of them."""
    places = [scope.index(name) for name in full if name in scope]
    shape = iter(np.transpose(values, places).shape)
    return np.transpose(values, places).reshape([next(shape) if n in scope else 1 for n in full])
