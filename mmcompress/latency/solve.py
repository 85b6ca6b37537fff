"""From a budget of time to what keeps to it, of channel units or filter units."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from torch import nn

from mmcompress.core.base.budget import KEY, Budget
from mmcompress.core.channels.config import UnitConfig
from mmcompress.core.channels.solver import Counted, goals_of
from mmcompress.core.errors import CompressionError
from mmcompress.core.probe.example import Example
from mmcompress.core.probe.probe import seeded
from mmcompress.report.table import progress_bar
from mmcompress.version import __version__

from .channel_units import ChannelProblem
from .filter_units import FilterProblem
from .search import LatencySolution, Search
from .table import Grid, TimeTable, alone, cache_folder, cached, write_json
from .whole import check_runtime

#: Part of what a kept solution is known by: raised where the search finds others.
REVISION = 2
_only_shapes: ContextVar[list[Grid] | None] = ContextVar('only_shapes', default=None)
_only_times: ContextVar[bool] = ContextVar('only_times', default=False)


def solve_latency(
    model: nn.Module,
    units: Mapping[str, UnitConfig],
    budget: Budget,
    input_shape: tuple[int, ...] | Example | None = None,
) -> LatencySolution:
    """Find the widths of a budget of time, and see that the network keeps to it.

    Layers are timed by themselves at several widths (on this machine, or in the table that the
    budget names), the best widths are found by :func:`~mmcompress.latency.knapsack.choose`, the
    whole network is built of them and timed against the dense one, and what was predicted is
    corrected, until the network takes at most its budget and at least 95 % of it.

    What is asked for a second time, on the same machine and of the same runtime, is answered alike
    and at once.

    Args:
        model: The dense architecture; left as it is.
        units: Its units by name.
        budget: What to reach; with MACs and parameters, too, if it names them.
        input_shape: Of the image to time with, where the budget doesn't say; see
            :func:`~mmcompress.core.channels.solver.solve`.

    Raises:
        CompressionError: If the budget can't be met; with the nearest that can.
    """
    return solve(
        model,
        lambda counted, shape: ChannelProblem(model, units, budget, counted, shape),
        budget,
        input_shape,
    )


def solve_filter_latency(
    model: nn.Module,
    units_at: Callable[[float], Mapping[str, Any]],
    names: Mapping[str, Sequence[str]],
    budget: Budget,
    input_shape: tuple[int, ...] | Example | None = None,
) -> LatencySolution:
    """Find the sizes and forms of filter units within a budget of time.

    As :func:`solve_latency`. A unit is factored where its factors are faster than the dense
    layers, and stays dense otherwise; nothing is made slower for fewer parameters, unless
    ``params`` is asked for.

    Args:
        model: The dense architecture; left as it is.
        units_at: Called with a keep ratio, gives units of this size by name.
        names: Names of all units, with their layers.
        budget: What to reach.
        input_shape: See :func:`solve_latency`.

    Raises:
        CompressionError: If the budget can't be met; with the nearest that can.
    """
    return solve(
        model,
        lambda counted, shape: FilterProblem(model, units_at, names, budget, counted, shape),
        budget,
        input_shape,
    )


def solve(
    model: nn.Module,
    problem_of: Any,
    budget: Budget,
    input_shape: tuple[int, ...] | Example | None,
) -> LatencySolution:
    """Find the best choice of a problem, or read it where it was found before.

    Args:
        model: The dense architecture.
        problem_of: Called with the counted architecture and the shape of images.
        budget: What to reach.
        input_shape: See :func:`solve_latency`.
    """
    _check_machines()
    check_runtime(budget.runtime, f'{KEY}.runtime')
    with seeded():  # what is drawn here is no part of a training's random numbers
        return _solve(model, problem_of, budget, input_shape)


def _solve(
    model: nn.Module,
    problem_of: Any,
    budget: Budget,
    input_shape: tuple[int, ...] | Example | None,
) -> LatencySolution:
    counted = Counted(model, budget.input_shape or input_shape)
    shape: Any = input_shape if isinstance(input_shape, Example) else counted.input_shape
    table = table_of(budget)
    problem = problem_of(counted, shape)
    goals = goals_of(budget, counted)
    shapes = _only_shapes.get()
    if shapes is not None:
        return _shapes_alone(problem, budget, counted, shapes)
    if _only_times.get():
        with alone():
            return _times_alone(problem, budget, counted, table)
    with alone():
        kept = _kept_at(table, problem.signature, budget, counted)
        solution = _read(kept)
        if solution is None:
            dense, size = counted.dense, counted.input_shape
            solution = Search(problem, model, budget, goals, table, dense, shape, size).run()
            write_json(vars(solution), kept)
    return solution


def _times_alone(
    problem: Any, budget: Budget, counted: Counted, table: TimeTable
) -> LatencySolution:
    """The dense network, with the times of its layers."""
    with progress_bar() as bar:
        task = bar.add_task('timing layers', total=None)
        problem.prepare(
            table, lambda total: bar.update(task, total=total), lambda: bar.advance(task)
        )
    whole = problem.whole()
    return LatencySolution(
        **problem.found(whole),
        reached=problem.reached(whole),
        dense=counted.dense,
        input_shape=counted.input_shape,
        dense_ms=problem.dense['time'],
        runtime=budget.runtime,
        threads=budget.threads,
        divisor=problem.divisor,
        error=problem.error,
    )


def _shapes_alone(
    problem: Any, budget: Budget, counted: Counted, shapes: list[Grid]
) -> LatencySolution:
    """The dense network; and what is to be timed, for another machine."""
    shapes += problem.grids_at(budget.divisor)
    return LatencySolution(problem.all_dense, counted.dense, counted.dense, counted.input_shape)


@contextlib.contextmanager
def only_shapes() -> Iterator[list[Grid]]:
    """Inside, nothing is timed or solved; what would be timed is gathered in the list."""
    shapes: list[Grid] = []
    token = _only_shapes.set(shapes)
    try:
        yield shapes
    finally:
        _only_shapes.reset(token)


@contextlib.contextmanager
def only_times() -> Iterator[None]:
    """Inside, layers are timed and nothing is solved: every budget of time is that of dense."""
    token = _only_times.set(True)
    try:
        yield
    finally:
        _only_times.reset(token)


def table_of(budget: Budget) -> TimeTable:
    """The table that a budget names, or that of this machine."""
    if budget.table:
        return TimeTable(budget.runtime, budget.threads, budget.table, given=True)
    return cached(budget.runtime, budget.threads)


def _check_machines() -> None:
    """See that all processes are on one machine.

    Raises:
        CompressionError: If they aren't: each would find widths of its own.
    """
    world, local = (int(os.environ.get(k, 1)) for k in ('WORLD_SIZE', 'LOCAL_WORLD_SIZE'))
    if 'LOCAL_WORLD_SIZE' in os.environ and world > local:
        raise CompressionError(
            f'{KEY}.latency: several machines would find widths of their own; find them once with '
            '`mmcompress units CONFIG --budget latency=... --choice -o ratios.json`, and give '
            "target_pruning_ratio='ratios.json'"
        )


def _kept_at(table: TimeTable, signature: Any, budget: Budget, counted: Counted) -> Path:
    """Where the solution of a problem is kept."""
    content = table.path.read_bytes() if table.given and table.path else b''
    asked = [
        __version__,
        REVISION,
        {name: part for name, part in table.head.items() if name != 'reference'},
        signature,
        counted.dense,
        counted.input_shape,
        repr(budget),
        hashlib.sha256(content).hexdigest(),
    ]
    name = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:24]
    return cache_folder() / 'solutions' / f'{name}.json'


def _read(path: Path) -> LatencySolution | None:
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
        for name in ('input_shape', 'error'):
            content[name] = tuple(content[name])
        return LatencySolution(**content)
    except (OSError, ValueError, TypeError, KeyError):
        return None
