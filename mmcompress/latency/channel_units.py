"""The widths of channel units as a problem of :mod:`~mmcompress.latency.search`."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from torch import nn

from mmcompress.core.base.budget import AUTO, FAST, KEY, Budget
from mmcompress.core.channels.config import UnitConfig, narrow_units
from mmcompress.core.channels.solver import Costs, Counted, allowed_widths
from mmcompress.core.errors import CompressionError

from .knapsack import LARGEST, STEPS, Cost, elimination_order
from .search import Choice, Problem, value_of
from .steps import fast_multiple
from .table import Grid, TimeTable, key_of
from .works import Work, works_of

#: Widths that a unit may have, at most; and at which a side of a layer is timed.
OPTIONS, TIMED = 16, 5
#: Layers at which interpolation is checked.
CHECKED = 12


class ChannelProblem(Problem):
    """The widths of channel units.

    Uniform importance: the value of a unit is that of its keep ratio (see
    :func:`~mmcompress.latency.search.value_of`), times the MACs of its layers.

    Args:
        model: The dense architecture; left as it is.
        units: Its units by name.
        budget: With limits of the keep ratios, and the divisor.
        counted: The dense architecture, counted.
        shape: Of images, see :func:`~mmcompress.latency.works.works_of`.

    Raises:
        CompressionError: If no layer that can be timed belongs to a unit.
    """

    def __init__(
        self,
        model: nn.Module,
        units: Mapping[str, UnitConfig],
        budget: Budget,
        counted: Counted,
        shape: Any,
    ) -> None:
        self.model, self.units, self.budget = model, dict(units), budget
        self.costs = Costs(model, counted, units)
        self.works = works_of(model, units, shape, budget.batch)
        if not self.works:
            raise CompressionError(
                f'{KEY}.latency: no convolution of {type(model).__name__} that can be narrowed '
                'runs in a forward pass'
            )

    @property
    def signature(self) -> Any:
        """What tells this problem from others."""
        works = [(w.layer, w.names, w.ins, w.outs, w.each) for w in self.works]
        return works, {name: (u.num_channels, u.divisor) for name, u in self.units.items()}

    def prepare(self, table: TimeTable, begin: Callable[[int], None], advance: Any) -> None:
        """See the base."""
        self.table = table
        self.divisor = self._divisor()
        self.options = self._options()
        grids = grids_of(self.works, self.options)
        begin(sum(len(grid.points) for grid in grids))
        table.measure(grids, advance)
        errors = np.abs(table.errors(grids))
        self.error = tuple(map(float, np.percentile(errors, [50, 90]))) if len(errors) else ()
        self._lay_out()

    @property
    def all_dense(self) -> dict[str, float]:
        """See the base."""
        return dict.fromkeys(self.units, 1.0)

    def grids_at(self, divisor: Any) -> list[Grid]:
        """See the base."""
        self.divisor = FAST if divisor == AUTO else int(divisor)
        return grids_of(self.works, self._options())

    def build(self, choice: Choice) -> nn.Module:
        """See the base."""
        model = copy.deepcopy(self.model)
        widths = self._widths(choice)
        narrow_units(model, [(unit, widths[name]) for name, unit in self.units.items()])
        return model

    def reached(self, choice: Choice) -> dict[str, int]:
        """See the base."""
        widths = self._widths(choice)
        return self.costs.of([widths[name] for name in self.units])

    def least(self) -> Choice:
        """See the base; the fewest channels."""
        return dict.fromkeys(self.choices, 0)

    def whole(self) -> Choice:
        """See the base; the most channels."""
        return {group: len(rows) - 1 for group, rows in self.choices.items()}

    def found(self, choice: Choice) -> dict[str, Any]:
        """See the base."""
        widths = self._widths(choice)
        whole = {name: unit.num_channels for name, unit in self.units.items()}
        rows = []
        for work in self.works:
            ins, outs = (round(float(side)) for side in work.widths(widths))
            rows.append(
                dict(
                    layer=work.names[0],
                    count=len(work.names),
                    size=list(work.layer['size']),
                    kernel=list(work.layer['kernel']),
                    dense=[work.ins, work.outs],
                    kept=[ins, outs],
                    dense_ms=float(work.time(self.table, whole)),
                    ms=float(work.time(self.table, widths)),
                    macs=work.pairs(ins, outs) / work.pairs(work.ins, work.outs),
                )
            )
        ratios = {name: width / self.units[name].num_channels for name, width in widths.items()}
        return dict(ratios=ratios, layers=rows)

    # Private

    def _divisor(self) -> int:
        given = self.budget.divisor
        if given != AUTO:
            return int(given)
        if self.table.given:
            return FAST  # as the shapes that it was made of
        return fast_multiple(self.table, self.works)

    def _options(self) -> dict[str, list[int]]:
        """The widths that each unit may have."""
        allowed = allowed_widths(self.units, self.budget, self.divisor)
        return {name: few_of(widths, OPTIONS) for name, widths in allowed.items()}

    def _lay_out(self) -> None:
        """Values of units; times, MACs and parameters of layers, by the options of their units."""
        groups = tied(self.options, [tuple(work.each) for work in self.works])
        self._group_of = {name: group for group, names in groups.items() for name in names}
        self.choices = {
            group: common_choices(names, self.options, self.units)
            for group, names in groups.items()
        }
        whole = {name: unit.num_channels for name, unit in self.units.items()}
        weights = dict.fromkeys(self.units, 0.0)
        self.parts, self.dense = [], dict(time=0.0, macs=0.0, params=0.0)
        for work in self.works:
            scope, kept = self._over_choices(work)
            pairs = work.pairs(*work.widths(kept))
            macs, params = (each * pairs for each in work.amounts)
            self.parts.append(
                (scope, dict(time=work.time(self.table, kept), macs=macs, params=params))
            )
            macs, params = (each * work.pairs(work.ins, work.outs) for each in work.amounts)
            time = float(work.time(self.table, whole))
            for cost, amount in dict(time=time, macs=macs, params=params).items():
                self.dense[cost] += amount
            for unit, sides in work.each.items():
                weights[unit] += macs * sum(side > 0 for side in sides)
        # A unit none of whose layers takes time: the wider the better.
        least = min((w for w in weights.values() if w), default=1.0) * 1e-3
        self.values = {
            group: [
                sum(
                    max(weights[unit], least) * value_of(width / self.units[unit].num_channels)
                    for unit, width in row.items()
                )
                for row in rows
            ]
            for group, rows in self.choices.items()
        }

    def _over_choices(self, work: Work) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
        """The groups of a layer's units, and the widths of these over all of their choices."""
        scope = tuple(dict.fromkeys(self._group_of[unit] for unit in work.each))
        places = np.meshgrid(
            *(np.arange(len(self.choices[group])) for group in scope), indexing='ij'
        )
        kept = {}
        for unit in work.each:
            group = self._group_of[unit]
            widths = np.array([row[unit] for row in self.choices[group]], float)
            kept[unit] = widths[places[scope.index(group)]]
        return scope, kept

    def _widths(self, choice: Choice) -> dict[str, int]:
        widths: dict[str, int] = {}
        for group, index in choice.items():
            widths.update(self.choices[group][index])
        return widths


def grids_of(works: Iterable[Work], options: Mapping[str, Sequence[int]]) -> list[Grid]:
    """The widths at which layers are timed, where units have some options."""
    reached: dict[str, tuple[Work, set[int], set[int]]] = {}
    for work in sorted(works, key=lambda w: -w.amounts[0] * w.pairs(w.ins, w.outs)):
        _, taken, given = reached.setdefault(key_of(work.layer), (work, set(), set()))
        taken.update(_reached(work, 0, options))
        given.update(_reached(work, 1, options))
    draw = np.random.default_rng(0)
    grids = []
    for number, (work, all_ins, all_outs) in enumerate(reached.values()):
        ins, outs = sorted(all_ins), sorted(all_outs)
        xs, ys = few_of(ins, TIMED), few_of(outs, TIMED)
        beside = [(x, y) for x in ins for y in outs if x not in xs or y not in ys]
        if work.layer['depthwise']:
            beside = [(y, y) for y in outs if y not in ys]
        checks = [beside[i] for i in draw.permutation(len(beside))[:2]] if number < CHECKED else []
        grids.append(Grid(work.layer, xs, ys, tuple(checks)))
    return grids


def _reached(work: Work, side: int, options: Mapping[str, Sequence[int]]) -> list[int]:
    """The widths that one side of a layer may have, the dense one among them."""
    dense = (work.ins, work.outs)[side]
    touched = {unit: share[side] for unit, share in work.each.items() if share[side]}
    if len(touched) == 1:
        ((unit, each),) = touched.items()
        return sorted(
            {dense, *(round(dense - each * (work.dense[unit] - w)) for w in options[unit])}
        )
    low = dense - sum(each * (work.dense[u] - min(options[u])) for u, each in touched.items())
    return sorted({round(low + (dense - low) * k / 8) for k in range(9)})


def few_of(widths: Sequence[int], most: int) -> list[int]:
    """At most so many of some widths, evenly, with the first and the last."""
    if len(widths) <= most:
        return list(widths)
    return [widths[round(i)] for i in np.linspace(0, len(widths) - 1, most)]


def tied(
    options: Mapping[str, Sequence[int]], scopes: Iterable[tuple[str, ...]]
) -> dict[str, list[str]]:
    """Groups of units that get one common choice, so that tables stay small enough.

    Units that one layer joins by the dozen, as a dense block does, are tied first.

    Args:
        options: Widths by unit.
        scopes: Units of each layer.

    Returns:
        Names of the units by the name of the group; most groups are one unit.
    """
    scopes = list(dict.fromkeys(scopes))
    groups = {name: [name] for name in options}
    while True:
        of = {unit: group for group, names in groups.items() for unit in names}
        own = [tuple(dict.fromkeys(of[unit] for unit in scope)) for scope in scopes]
        sizes = {
            group: [0.0] * (len(options[names[0]]) if len(names) == 1 else OPTIONS)
            for group, names in groups.items()
        }
        _, largest = elimination_order(sizes, [Cost(scope, np.zeros(1)) for scope in own])
        if largest * (STEPS[-1] + 1) <= LARGEST or len(groups) == 1:
            return groups
        widest = max(own, key=len)
        if len(widest) <= 2:
            # Layers join no more than two; what is too much is how they are connected.
            joined = list(itertools.chain(*own))
            widest = tuple(sorted(groups, key=lambda name: -joined.count(name))[:2])
        for other in widest[1:]:
            groups[widest[0]] += groups.pop(other)


def common_choices(
    names: Sequence[str], options: Mapping[str, Sequence[int]], units: Mapping[str, UnitConfig]
) -> list[dict[str, int]]:
    """The choices of a group: each a width for all of its units, at one common keep ratio."""
    if len(names) == 1:
        return [{names[0]: width} for width in options[names[0]]]
    rows = []
    for ratio in np.linspace(0, 1, OPTIONS + 1)[1:]:
        row = {}
        for name in names:
            below = [w for w in options[name] if w <= ratio * units[name].num_channels + 1e-6]
            row[name] = below[-1] if below else options[name][0]
        if row not in rows:
            rows.append(row)
    return rows
