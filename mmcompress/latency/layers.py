"""What each layer of a network takes, dense and compact, and which form of a layer is fastest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.logging import print_log
from torch import nn

from mmcompress.core.filters.algorithm import FilterAlgorithm
from mmcompress.core.filters.mutator import common_forms
from mmcompress.core.layers.narrow import channels_of
from mmcompress.core.probe.example import Example
from mmcompress.core.probe.followers import norms_behind
from mmcompress.core.probe.shapes import shapes_in
from mmcompress.report.table import progress_bar

from .filter_units import walk
from .table import Timed, TimeTable, alone, grids_at
from .works import describe, is_timed, macs_of

#: MACs fell without their time where the share of time saved is below this share of the MACs saved,
#: of layers that lost this share of their MACs.
SAVED, LOST = 0.7, 0.1


def layer_times(
    dense: nn.Module,
    static: nn.Module,
    shape: tuple[int, ...] | Example,
    table: TimeTable,
    batch: int = 1,
) -> list[dict[str, Any]]:
    """Time and MACs of every layer that differs between a dense and an exported network.

    Args:
        dense: The dense network.
        static: The exported one; what a layer was replaced by has its name.
        shape: ``(channels, height, width)`` of an image, or inputs that a user gives.
        table: Times of layers; what it lacks is timed.
        batch: Images in a batch.

    Returns:
        Rows with ``layer``, ``dense`` and ``kept`` channels, ``dense_ms``, ``ms`` and ``macs``, the
        share of the dense layer's.
    """
    before, after = (_works(model, shape, batch) for model in (dense, static))
    parts = {
        name: [work for other, work in after.items() if other == name or _inside(other, name)]
        for name in before
    }
    changed = {
        name: works
        for name, works in parts.items()
        if works and repr(works) != repr([before[name]])
    }
    with alone():
        _measure(table, [work for n in changed for work in (before[n], *changed[n])])
    rows = []
    for name, works in changed.items():
        whole = before[name]
        rows.append(
            dict(
                layer=name,
                dense=list(whole[0][1]),
                kept=[works[0][0][1][0], works[-1][-1][1][1]],
                dense_ms=table.total(whole),
                ms=sum(table.total(work) for work in works),
                macs=sum(macs_of(work) for work in works) / max(macs_of(whole), 1.0),
            )
        )
    return rows


def without_their_time(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Layers whose MACs fell without their time: the slowest first."""
    slow = [
        row
        for row in rows
        if row['macs'] < 1 - LOST and 1 - row['ms'] / row['dense_ms'] < SAVED * (1 - row['macs'])
    ]
    return [row['layer'] for row in sorted(slow, key=lambda row: -row['ms'])]


def some_of(layers: Sequence[str], most: int = 5) -> str:
    """Names of the first layers, and how many more there are."""
    more = f' and {len(layers) - most} more' if len(layers) > most else ''
    return f'{", ".join(layers[:most])}{more}'


def fastest_forms(
    algorithm: FilterAlgorithm, shape: tuple[int, ...] | Example, table: TimeTable
) -> dict[str, str]:
    """For each filter unit, the form whose layers take the least time together.

    Args:
        algorithm: Whose units to export.
        shape: ``(channels, height, width)`` of an image, or inputs that a user gives.
        table: Times of layers; what it lacks is timed.

    Returns:
        The form of each layer that has several, by its name.

    Raises:
        CompressionError: If the model doesn't run on such an image.
    """
    demo = shape if isinstance(shape, Example) else (1, *shape)
    architecture = algorithm.architecture
    seen = algorithm.mutator.shapes_seen(architecture, demo)
    followed = norms_behind(architecture, demo)
    found: dict[str, dict[str, Timed]] = {}
    units: dict[str, list[str]] = {}
    for unit in algorithm.mutator.units.values():
        ops: dict[str, Any] = {la: architecture.get_submodule(la) for la in unit.layers}
        common = common_forms(ops.values())
        if len(common) == 1:
            continue
        units[unit.name] = list(ops)
        found[unit.name] = {
            form: [
                (layer, pair)
                for name, op in ops.items()
                for size, _ in seen.get(name, [])
                if size is not None
                for layer, pair, _ in walk(op.static_layers(form), tuple(size), name in followed)
            ]
            for form in common
        }
    with alone():
        _measure(table, [work for forms in found.values() for work in forms.values()])
    chosen: dict[str, str] = {}
    for name, forms in found.items():
        times = {form: table.total(work) for form, work in forms.items()}
        chosen.update(dict.fromkeys(units[name], min(times, key=times.__getitem__)))
    _tell(chosen, table.runtime)
    return chosen


def _tell(chosen: Mapping[str, str], runtime: str) -> None:
    merged = [layer for layer, form in chosen.items() if form == 'merged']
    if merged:
        print_log(
            f'{len(merged)} of {len(chosen)} layers with a basis are no faster factored in '
            f'{runtime}: they are exported merged, with the time of dense layers, and stored as '
            'factors',
            logger='current',
        )


def _works(model: nn.Module, shape: Any, batch: int) -> dict[str, Timed]:
    """What each convolution and linear layer does, by name, as often as it runs."""
    demo = shape if isinstance(shape, Example) else (batch, *shape)
    layers = {name: module for name, module in model.named_modules() if is_timed(module)}
    followed = norms_behind(model, demo)
    found: dict[str, Timed] = {}
    for name, pairs in shapes_in(model, layers, demo).items():
        layer = layers[name]
        ins, outs = channels_of(layer)
        for size, _ in pairs:
            if size is not None:
                described = describe(layer, size, name in followed)
                found.setdefault(name, []).append((described, (ins, outs)))
    return found


def _inside(name: str, layer: str) -> bool:
    return name.startswith(f'{layer}.')


def _measure(table: TimeTable, works: Sequence[Timed]) -> None:
    grids = grids_at(works)
    with progress_bar() as bar:
        task = bar.add_task('timing layers', total=sum(len(grid.points) for grid in grids))
        table.measure(grids, lambda: bar.advance(task))
