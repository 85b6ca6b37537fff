"""The best choices within a budget of time, measured and not only predicted."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np
from torch import nn

from mmcompress.core.base.budget import COSTS, KEY, Budget
from mmcompress.core.channels.solver import Solution
from mmcompress.core.errors import CompressionError
from mmcompress.report.table import progress_bar

from .knapsack import Cost, choose
from .table import Grid, TimeTable
from .whole import LAST_ROUNDS, Whole

#: A measured network may be this far below its budget, and the share of it that is aimed at.
WITHIN, AIM = 0.05, 0.98
#: Networks that are built and timed, at most.
TRIALS = 8
#: Halvings of the weight of a second limit.
HALVINGS = 12

Choice = dict[str, int]


@dataclass(frozen=True)
class LatencySolution(Solution):
    """Keep ratios that meet a budget of time.

    Attributes:
        forms: Static form by layer, where layers have some.
        asked: The share of the dense network's time that was asked for.
        predicted: The share that the table predicts.
        measured: The measured share; ``None`` with a table of another machine.
        spread: Its interquartile range.
        dense_ms: Milliseconds of the dense network, or of its layers in a given table.
        runtime: What ran.
        threads: CPU threads.
        part: Of the network; see :class:`~mmcompress.latency.whole.Whole`.
        divisor: What widths are multiples of.
        error: The middle and the 90th percentile of the error of interpolation, relative; or
            nothing.
        layers: By layer (those that do the same together) what it is and takes, dense and compact.
    """

    forms: dict[str, str] = field(default_factory=dict)
    asked: float = 1.0
    predicted: float = 1.0
    measured: float | None = None
    spread: float | None = None
    dense_ms: float | None = None
    runtime: str = ''
    threads: int = 1
    part: str = 'tensor'
    divisor: int = 1
    error: tuple[float, ...] = ()
    layers: list[dict[str, Any]] = field(default_factory=list)

    def __str__(self) -> str:
        part = ', backbone and neck' if self.part == 'features' else ''
        threads = f'{self.threads} thread{"s" if self.threads > 1 else ""}'
        how = f'{self.runtime}, {threads}{part}'
        if self.measured is None:
            time = f'{self.predicted:.3f} of the dense time predicted ({how})'
        else:
            time = (
                f'{self.measured:.3f} ± {self.spread:.3f} of the dense {self.dense_ms:.4g} ms '
                f'measured, {self.predicted:.3f} predicted ({how})'
            )
        return f'{time}; {super().__str__()}'


class Problem(ABC):
    """What can be chosen, and what it costs.

    Attributes:
        values: By variable, the value of each of its options.
        parts: Costs that some variables have together: their names, and arrays over their options
            by ``time`` (milliseconds), ``macs`` and ``params``.
        dense: The sum of the same costs in the dense network.
        divisor: See :class:`LatencySolution`.
        error: Likewise.
    """

    values: dict[str, list[float]]
    parts: list[tuple[tuple[str, ...], dict[str, np.ndarray]]]
    dense: dict[str, float]
    divisor: int = 1
    error: tuple[float, ...] = ()

    @property
    @abstractmethod
    def signature(self) -> Any:
        """What tells this problem from others; JSON."""

    @property
    @abstractmethod
    def all_dense(self) -> dict[str, float]:
        """Keep ratios that change nothing."""

    @abstractmethod
    def grids_at(self, divisor: Any) -> list[Grid]:
        """What is to be timed, where widths are multiples of a number."""

    @abstractmethod
    def prepare(self, table: TimeTable, begin: Callable[[int], None], advance: Any) -> None:
        """Time layers, and fill the attributes.

        Args:
            table: Where times come from.
            begin: Called with the number of points.
            advance: Called after each.
        """

    @abstractmethod
    def build(self, choice: Choice) -> nn.Module:
        """The network of a choice, of plain layers; its weights are of no account."""

    @abstractmethod
    def reached(self, choice: Choice) -> dict[str, int]:
        """``macs`` and ``params`` of the whole network of a choice."""

    @abstractmethod
    def least(self) -> Choice:
        """The choice that takes least time."""

    @abstractmethod
    def whole(self) -> Choice:
        """The choice that changes least."""

    @abstractmethod
    def found(self, choice: Choice) -> dict[str, Any]:
        """``ratios``, ``forms`` and ``layers`` of a :class:`LatencySolution`."""

    def cost(self, choice: Choice, cost: str) -> float:
        """The sum of a cost."""
        return sum(
            float(part[cost][tuple(choice[name] for name in scope)]) for scope, part in self.parts
        )


class Search:
    """Choices of most value within a budget.

    Args:
        problem: What can be chosen.
        model: The dense network.
        budget: Its limits.
        goals: What may be spent of MACs and parameters of the whole network.
        table: Times of layers.
        dense: ``macs`` and ``params`` of the whole dense network.
        shape: Of images, see :class:`~mmcompress.latency.whole.Whole`.
        input_shape: ``(channels, height, width)``.
    """

    def __init__(
        self,
        problem: Problem,
        model: nn.Module,
        budget: Budget,
        goals: Mapping[str, float],
        table: TimeTable,
        dense: dict[str, int],
        shape: Any,
        input_shape: tuple[int, ...],
    ) -> None:
        self.problem, self.model, self.budget, self.goals = problem, model, budget, dict(goals)
        self.table, self.dense, self.shape, self.input_shape = table, dense, shape, input_shape

    def run(self) -> LatencySolution:
        """The whole search, with a progress bar.

        Raises:
            CompressionError: If the budget can't be met; with the nearest that can.
        """
        with progress_bar() as bar:
            task = bar.add_task('timing layers', total=None)
            self.problem.prepare(
                self.table,
                lambda total: bar.update(task, total=total),
                lambda: bar.advance(task),
            )
            if self.table.given:
                return self._predicted()
            task = bar.add_task('timing networks', total=TRIALS)
            found = self._measured(lambda: bar.advance(task))
            bar.update(task, completed=TRIALS)
            return found

    # Choosing

    def best(self, milliseconds: float) -> Choice | None:
        """The best choice whose layers take no longer, within the other limits; or ``None``."""
        if milliseconds <= 0:
            return None
        choice = self._choose(milliseconds, {}, 0)
        if choice is None or self._within(choice):
            return choice
        # What the layers may spend, of what the whole network may.
        room = {
            cost: goal - (self.dense[cost] - self.problem.dense[cost])
            for cost, goal in self.goals.items()
        }
        if min(room.values()) <= 0:
            return None
        # Within both limits is within any mean of them, so the right mean is looked for.
        low, high, best = 0.0, 1.0, None
        for _ in range(HALVINGS):
            weight = (low + high) / 2
            choice = self._choose(milliseconds, room, weight)
            if choice is not None and self._within(choice):
                best, high = choice, weight
            else:
                low = weight
        return best

    def _choose(
        self, milliseconds: float, room: Mapping[str, float], weight: float
    ) -> Choice | None:
        costs = []
        for scope, part in self.problem.parts:
            values = (1 - weight) * part['time'] / milliseconds
            for cost, limit in room.items():
                values = values + weight / len(room) * part[cost] / limit
            costs.append(Cost(scope, values))
        return choose(self.problem.values, costs, 1.0)

    def _within(self, choice: Choice) -> bool:
        if not self.goals:
            return True
        reached = self.problem.reached(choice)
        return all(reached[cost] <= goal for cost, goal in self.goals.items())

    # What a network really takes

    def _predicted(self) -> LatencySolution:
        """By a table of another machine: the layers alone, relative to the dense ones."""
        dense = self.problem.dense['time']
        share = self.budget.latency_share(dense)
        choice = self.best(share * dense)
        if choice is None:
            self._refuse(share, self.problem.cost(self.problem.least(), 'time') / dense, dense)
        predicted = self.problem.cost(choice, 'time') / dense
        return self._solution(choice, share, predicted, dense, None)

    def _measured(self, advance: Callable[[], None]) -> LatencySolution:
        """Networks are built and timed until one keeps to the budget and uses it up."""
        budget, layers = self.budget, self.problem.dense['time']
        with Whole(self.model, budget.runtime, budget.threads, budget.batch, self.shape) as whole:
            dense_ms = whole.dense_ms()
            share = budget.latency_share(dense_ms)
            # Milliseconds of the layers, and the share of the dense network's time.
            seen = [(layers, 1.0)]
            tried: dict[str, dict[str, float]] = {}
            best: tuple[float, Choice, dict[str, float], float] | None = None
            slope, offset = _start(layers, dense_ms)
            # Milliseconds of the layers that are enough, and that are too many.
            enough, over = 0.0, layers
            for _ in range(TRIALS):
                choice = self.best((AIM * share - offset) / slope) or self.problem.least()
                if repr(choice) in tried:
                    # The line leads nowhere new: halfway to what is too much.
                    choice = self.best((enough + over) / 2) or self.problem.least()
                if repr(choice) in tried:
                    break
                spent = self.problem.cost(choice, 'time')
                found = whole.compare(self.problem.build(choice), LAST_ROUNDS)
                tried[repr(choice)] = found
                advance()
                ratio = found['ratio']
                fits = ratio <= share and self._within(choice)
                if fits and (best is None or ratio > best[0]):
                    best = (ratio, choice, found, slope * spent + offset)
                if fits and ratio >= (1 - WITHIN) * share:
                    break
                enough, over = (max(enough, spent), over) if fits else (enough, min(over, spent))
                seen.append((spent, ratio))
                slope, offset = _line(seen, AIM * share)
            if best is None:
                least = min(tried.values(), key=lambda row: row['ratio'])
                self._refuse(share, least['ratio'], least['dense_ms'])
            _, choice, found, predicted = best
            return self._solution(choice, share, predicted, found['dense_ms'], found, whole.part)

    def _refuse(self, share: float, least: float, dense: float) -> NoReturn:
        others = ' within its other limits' if self.goals else ''
        raise CompressionError(
            f'{KEY}.latency asks for {share:.4g} of the dense network ({share * dense:.4g} ms in '
            f'{self.budget.runtime}); the nearest that can be reached{others} with this min_ratio '
            f'and divisor is {least:.4f} ({least * dense:.4g} ms)'
        )

    def _solution(
        self,
        choice: Choice,
        asked: float,
        predicted: float,
        dense_ms: float,
        found: dict[str, float] | None,
        part: str = 'tensor',
    ) -> LatencySolution:
        return LatencySolution(
            **self.problem.found(choice),
            reached=self.problem.reached(choice),
            dense={cost: self.dense[cost] for cost in COSTS},
            input_shape=self.input_shape,
            asked=asked,
            predicted=predicted,
            measured=None if found is None else found['ratio'],
            spread=None if found is None else found['ratio_iqr'],
            dense_ms=dense_ms,
            runtime=self.budget.runtime,
            threads=self.budget.threads,
            part=part,
            divisor=self.problem.divisor,
            error=self.problem.error,
        )


def _start(layers: float, dense_ms: float) -> tuple[float, float]:
    """How the share of time follows the milliseconds of layers, before any network is timed."""
    if layers >= 0.98 * dense_ms:
        return 1 / layers, 0.0
    return 1 / dense_ms, 1 - layers / dense_ms


def _line(seen: list[tuple[float, float]], goal: float) -> tuple[float, float]:
    """The line through the two networks whose time is nearest to the goal."""
    one, *rest = sorted(dict(seen).items(), key=lambda pair: abs(pair[1] - goal))
    if not rest:
        return one[1] / one[0], 0.0
    other = rest[0]
    if abs(one[0] - other[0]) < 1e-9 or (one[1] - other[1]) * (one[0] - other[0]) <= 0:
        return one[1] / one[0], 0.0
    slope = (one[1] - other[1]) / (one[0] - other[0])
    return slope, one[1] - slope * one[0]


def value_of(ratio: float) -> float:
    """The value of a keep ratio, for a unit of weight one.

    It falls ever faster, so that nothing is cut to the bone for a little time elsewhere: where time
    is in proportion to both widths of a layer, equal ratios have the most value.
    """
    return 1 - ratio**-2.0
