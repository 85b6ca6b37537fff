"""Tables of times: made, given, written as shapes for another machine, and shown."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmcompress.core.base.budget import Budget
from mmcompress.core.base.build import build_model
from mmcompress.core.channels.solver import Solution
from mmcompress.core.errors import CompressionError
from mmcompress.latency.layers import some_of, without_their_time
from mmcompress.latency.search import LatencySolution
from mmcompress.latency.solve import only_shapes, only_times, solve_latency
from mmcompress.latency.table import cached, write_json
from mmcompress.latency.time_layers import SCHEMA
from mmcompress.report.table import print_table, wide_console

from .listing import give_budget, units_of

#: Layers that a table on the terminal has, the slowest first.
SHOWN = 20


def solved(cfg: Config, budget: Mapping[str, Any]) -> Any:
    """What a budget comes to, of the model of a config: a method's, or a dense one.

    Raises:
        CompressionError: If config or budget are wrong, or the budget can't be met.
    """
    if 'architecture' in cfg.model:
        give_budget(cfg, dict(budget))
        model: Any = build_model(cfg)
        return model.mutator.solution
    model = build_model(cfg)
    return solve_latency(model, units_of(model), Budget.from_config(budget))


def make_table(cfg: Config, budget: dict[str, Any]) -> dict[str, Any]:
    """Time the layers of a config's model at the widths that its units may have.

    Args:
        cfg: A method's config, or a dense model's.
        budget: ``runtime``, ``threads``, ``batch``, ``table`` and the like of a budget.

    Returns:
        What ``bench --table`` says: the fields of
        :class:`~mmcompress.latency.search.LatencySolution` that are about layers; ``seconds``;
        and ``table``, the file.
    """
    begun = time.perf_counter()
    with only_times():
        found: LatencySolution = solved(cfg, dict(budget, latency=1.0))
    path = budget.get('table') or cached(found.runtime, found.threads).path
    return dict(
        table=str(path),
        runtime=found.runtime,
        threads=found.threads,
        batch=budget.get('batch', 1),
        shape=found.input_shape,
        divisor=found.divisor,
        error=found.error,
        seconds=time.perf_counter() - begun,
        layers=found.layers,
    )


def write_shapes(cfg: Config, budget: dict[str, Any], path: str | Path) -> int:
    """Write the shapes that another machine is to time; returns how many points these are.

    Raises:
        CompressionError: If the file is there already.
    """
    path = Path(path)
    if path.exists():
        raise CompressionError(f'--shapes: {str(path)!r} exists; give another name')
    with only_shapes() as grids:
        solved(cfg, dict(budget, latency=1.0))
    layers = [dict(grid.layer, points=[list(pair) for pair in grid.points]) for grid in grids]
    write_json(dict(schema=SCHEMA, layers=layers), path)
    return sum(len(layer['points']) for layer in layers)


def show_table(result: dict[str, Any]) -> None:
    """Print a table of times, the layers that take most first."""
    total = sum(row['dense_ms'] for row in result['layers'])
    size = 'x'.join(map(str, result['shape']))
    print_table(
        [
            dict(_named(row), ms=round(row['dense_ms'], 3), share=f'{row["dense_ms"] / total:.1%}')
            for row in _slowest(result['layers'], 'dense_ms')
        ],
        title=f'{result["runtime"]}, {result["threads"]} threads, {size}: '
        f'{total:.4g} ms in layers that units reach',
        console=wide_console(),
    )
    more = len(result['layers']) - SHOWN
    if more > 0:
        print(f'and {more} more; --json has all')
    if result['error']:
        middle, high = result['error']
        print(
            f'widths are fast in multiples of {result["divisor"]}; at widths that were not in the '
            f'table, it was off by {middle:.1%} (middle) and {high:.1%} (90 %)'
        )
    print(f'{result["table"]}, {result["seconds"]:.0f} s')


def show_times(solution: Solution) -> None:
    """Print time by layer of a budget of time, dense and compact."""
    from .planning import stderr_console

    if not isinstance(solution, LatencySolution):
        return
    rows = [
        dict(
            _named(row),
            **{
                'dense ms': round(row['dense_ms'], 3),
                'ms': round(row['ms'], 3),
                'time': f'{row["ms"] / row["dense_ms"]:.0%}',
                'MACs': f'{row["macs"]:.0%}',
            },
        )
        for row in _slowest(solution.layers, 'dense_ms')
    ]
    console = stderr_console()
    print_table(rows, title=f'layers in {solution.runtime}', console=console)
    more = len(solution.layers) - SHOWN
    if more > 0:
        console.print(f'and {more} more; --json has all')
    slow = without_their_time(solution.layers)
    if slow:
        console.print(f'MACs fell without their time: {some_of(slow)}')


def _slowest(rows: list[dict[str, Any]], key: str) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: -row[key])[:SHOWN]


def _named(row: Mapping[str, Any]) -> dict[str, Any]:
    """The first columns: what a layer is."""
    found: dict[str, Any] = {'layer': row['layer'], 'alike': row['count']}
    if 'form' in row:
        found['form'] = row['form']
        found['kept'] = f'{row["ratio"]:.0%}'
        return found
    found['size'] = 'x'.join(map(str, row['size']))
    dense, kept = ('>'.join(map(str, row[key])) for key in ('dense', 'kept'))
    found['channels'] = dense if dense == kept else f'{dense} to {kept}'
    return found
