"""One figure that shows what was paid and what was won."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .table import format_value

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_INK = '#222831'
_MUTED = '#8a929c'
_GRID = '#e4e7eb'
_METRIC = '#c44e2b'
_LATENCY = '#6a4c93'
_SIZES = {'macs': ('MACs', '#1f6f8b'), 'params': ('parameters', '#9cc5d3')}
_TITLE: dict[str, Any] = dict(loc='left', fontsize=10.5, color=_INK, pad=8)


def summary_plot(
    rows: list[dict[str, Any]],
    path: str | os.PathLike,
    metric: str = 'top1',
    title: str | None = None,
) -> None:
    """Draw a PNG with one line a method: its metric, its size, its latency.

    The size and the latency are relative to the first row, the dense model, and left out where
    that has none; a later row without a value leaves a gap. matplotlib's global state (pyplot,
    rcParams, backend) is not touched.

    Args:
        rows: Dicts with ``method`` and any of the metric, ``params``, ``macs``, ``latency_ms`` and
            ``latency_iqr_ms``. The first is the reference.
        path: Where to write the PNG; its folder is made when missing.
        metric: The key of the task metric, in percent or any unit; more is better.
        title: A heading. Default: none.

    Raises:
        ValueError: If ``rows`` is empty, or holds nothing that can be drawn.
    """
    if not rows:
        raise ValueError('rows is empty: there is nothing to draw.')
    panels = []
    if any(row.get(metric) is not None for row in rows):
        panels.append(lambda axes: _draw_metric(axes, rows, metric))
    if any(rows[0].get(key) for key in _SIZES):
        panels.append(lambda axes: _draw_size(axes, rows))
    if rows[0].get('latency_ms'):
        panels.append(lambda axes: _draw_latency(axes, rows))
    if not panels:
        raise ValueError(
            f'No row has {metric!r}, and the first has none of params, macs, latency_ms; '
            f'found: {sorted({key for row in rows for key in row})}.'
        )
    height = 1.5 + 0.52 * len(rows) + (0.4 if title else 0)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1.6 + 3.6 * len(panels), height), layout='constrained')
    FigureCanvasAgg(figure)
    layout: Any = figure.get_layout_engine()
    layout.set(wspace=0.06)
    all_axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, draw in zip(all_axes, panels, strict=True):
        draw(axes)
        _dress(axes)
    all_axes[0].set_yticks(range(len(rows)), [str(row['method']) for row in rows], color=_INK)
    all_axes[0].set_ylim(len(rows) - 0.4, -0.6)
    if title:
        figure.suptitle(title, x=0.01, ha='left', fontsize=12, fontweight='bold', color=_INK)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150, facecolor='white', format='png')


def _relative(rows: list[dict[str, Any]], key: str) -> list[float | None]:
    """Percent of the first row's value; None for rows without one."""
    reference = rows[0][key]
    return [None if row.get(key) is None else 100 * row[key] / reference for row in rows]


def _draw_metric(axes: Axes, rows: list[dict[str, Any]], metric: str) -> None:
    # Dots, not bars: differences are small, so the axis cannot start at zero, and a bar on an axis
    # that doesn't lies about proportions.
    points = [(row[metric], y) for y, row in enumerate(rows) if row.get(metric) is not None]
    values = [value for value, _ in points]
    spread = max(values) - min(values) or 1.0
    axes.set_xlim(min(values) - 0.35 * spread, max(values) + 0.45 * spread)
    if rows[0].get(metric) is not None:
        axes.axvline(rows[0][metric], color=_MUTED, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    for value, y in points:
        axes.plot(value, y, 'o', color=_METRIC, markersize=9, zorder=4)
        _label(axes, value, y, f'{value:.2f}', gap=8)
    axes.set_title(metric, **_TITLE)


def _draw_size(axes: Axes, rows: list[dict[str, Any]]) -> None:
    keys = [key for key in _SIZES if rows[0].get(key)]
    thickness = 0.7 / len(keys)
    for i, key in enumerate(keys):
        offset = (i - (len(keys) - 1) / 2) * thickness
        texts = [format_value(key, row.get(key)) for row in rows]
        name, color = _SIZES[key]
        _bars(axes, _relative(rows, key), texts, offset, thickness, color, name)
    axes.legend(
        loc='upper center',
        bbox_to_anchor=(0.5, 0),
        borderaxespad=1.8,
        ncols=len(keys),
        frameon=False,
        fontsize=9,
        labelcolor=_INK,
        handlelength=1,
        handleheight=1,
    )
    axes.set_title(f'size, % of {rows[0]["method"]}', **_TITLE)


def _draw_latency(axes: Axes, rows: list[dict[str, Any]]) -> None:
    percents = _relative(rows, 'latency_ms')
    texts = [f'{row["latency_ms"]:.3g} ms' if row.get('latency_ms') else '' for row in rows]
    halves = [
        0.5 * percent * (row.get('latency_iqr_ms') or 0) / row['latency_ms'] if percent else 0.0
        for percent, row in zip(percents, rows, strict=True)
    ]
    _bars(axes, percents, texts, 0, 0.45, _LATENCY, 'latency', halves)
    axes.set_title(f'latency, % of {rows[0]["method"]}', **_TITLE)


def _bars(
    axes: Axes,
    percents: list[float | None],
    texts: list[str],
    offset: float,
    thickness: float,
    color: str,
    name: str,
    halves: list[float] | None = None,
) -> None:
    """Horizontal bars of percentages; beside each its percentage and its absolute value.

    Args:
        axes: Where to draw.
        percents: Length of each row's bar; None draws nothing.
        texts: The absolute value of each row.
        offset: Of the bars from the row's place.
        thickness: Of a bar; 1 is the distance of two rows.
        color: Of the bars.
        name: For the legend.
        halves: Half the length of a whisker at the end of each bar.
    """
    drawn = [(y, percent) for y, percent in enumerate(percents) if percent is not None]
    rows, widths = zip(*drawn, strict=True)
    places = [y + offset for y in rows]
    axes.barh(places, widths, height=thickness * 0.92, color=color, label=name, zorder=2)
    axes.axvline(100, color=_MUTED, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    for y, width, place in zip(rows, widths, places, strict=True):
        half = halves[y] if halves else 0.0
        if half:
            ends = [width - half, width + half]
            axes.plot(ends, [place, place], color=_INK, linewidth=1.4, zorder=4)
        _label(axes, width + half, place, f'{width:.0f}%  {texts[y]}', gap=5)
    axes.set_xlim(0, max(axes.get_xlim()[1], 1.45 * max(*widths, 100)))


def _label(axes: Axes, x: float, y: float, text: str, gap: float) -> None:
    axes.annotate(
        text,
        (x, y),
        xytext=(gap, 0),
        textcoords='offset points',
        va='center',
        fontsize=8.5,
        color=_INK,
        # Keeps grid and reference lines out of the digits.
        bbox=dict(facecolor='white', edgecolor='none', pad=0.8),
        zorder=3,
    )


def _dress(axes: Axes) -> None:
    for side in ('top', 'right', 'left'):
        axes.spines[side].set_visible(False)
    axes.spines['bottom'].set_color(_GRID)
    axes.tick_params(axis='x', colors=_MUTED, labelsize=8.5, length=0)
    axes.tick_params(axis='y', length=0, labelsize=10)
    axes.grid(axis='x', color=_GRID, linewidth=0.8, zorder=0)
    axes.set_axisbelow(True)
