"""One figure that shows what was paid and what was won."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmcompress.core.checks import one_of

from .table import format_value

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Theme:
    """The colours of a picture, as ``#rrggbb``."""

    ground: str
    ink: str
    muted: str
    grid: str
    metric: str
    latency: str
    macs: str
    params: str
    file_bytes: str


THEMES = {
    'light': Theme(
        ground='#ffffff',
        ink='#222831',
        muted='#8a929c',
        grid='#e4e7eb',
        metric='#c44e2b',
        latency='#6a4c93',
        macs='#1f6f8b',
        params='#9cc5d3',
        file_bytes='#d9a441',
    ),
    'dark': Theme(
        ground='#0d1117',
        ink='#e6edf3',
        muted='#8b949e',
        grid='#262d37',
        metric='#ff8a65',
        latency='#b08fe0',
        macs='#3fa7c4',
        params='#2b5f70',
        file_bytes='#e0b357',
    ),
}
_SIZES = {'macs': 'MACs', 'params': 'parameters', 'file_bytes': 'file'}


def summary_plot(
    rows: list[dict[str, Any]],
    path: str | os.PathLike,
    metric: str = 'top1',
    title: str | None = None,
    theme: str = 'light',
) -> None:
    """Draw a PNG with one line a method: its metric, its size, its latency.

    The size and the latency are relative to the first row, the dense model, and left out where
    that has none; a later row without a value leaves a gap. matplotlib's global state (pyplot,
    rcParams, backend) is not touched.

    Args:
        rows: Dicts with ``method`` and any of the metric, ``params``, ``macs``, ``file_bytes``,
            ``latency_ms`` and ``latency_iqr_ms``. The first is the reference.
        path: Where to write the PNG; its folder is made when missing.
        metric: The key of the task metric, in percent or any unit; more is better.
        title: A heading. Default: none.
        theme: ``'light'`` or ``'dark'``.

    Raises:
        ValueError: If ``rows`` is empty, or holds nothing that can be drawn.
    """
    if not rows:
        raise ValueError('rows is empty: there is nothing to draw.')
    colors = THEMES[one_of(theme, THEMES, 'theme')]
    panels = []
    if any(row.get(metric) is not None for row in rows):
        panels.append(lambda axes: _draw_metric(axes, rows, metric, colors))
    if any(rows[0].get(key) for key in _SIZES):
        panels.append(lambda axes: _draw_size(axes, rows, colors))
    if rows[0].get('latency_ms'):
        panels.append(lambda axes: _draw_latency(axes, rows, colors))
    if not panels:
        raise ValueError(
            f'No row has {metric!r}, and the first has none of '
            f'{", ".join(_SIZES)}, latency_ms; '
            f'found: {sorted({key for row in rows for key in row})}.'
        )
    sizes = sum(bool(rows[0].get(key)) for key in _SIZES)
    height = 1.5 + max(0.52, 0.26 * sizes) * len(rows) + (0.4 if title else 0)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1.6 + 3.6 * len(panels), height), layout='constrained')
    FigureCanvasAgg(figure)
    layout: Any = figure.get_layout_engine()
    layout.set(wspace=0.06)
    all_axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, draw in zip(all_axes, panels, strict=True):
        draw(axes)
        _dress(axes, colors)
    all_axes[0].set_yticks(range(len(rows)), [str(row['method']) for row in rows], color=colors.ink)
    all_axes[0].set_ylim(len(rows) - 0.4, -0.6)
    if title:
        figure.suptitle(title, x=0.01, ha='left', fontsize=12, fontweight='bold', color=colors.ink)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150, facecolor=colors.ground, format='png')


def _relative(rows: list[dict[str, Any]], key: str) -> list[float | None]:
    """Percent of the first row's value; None for rows without one."""
    reference = rows[0][key]
    return [None if row.get(key) is None else 100 * row[key] / reference for row in rows]


def _draw_metric(axes: Axes, rows: list[dict[str, Any]], metric: str, colors: Theme) -> None:
    # Dots, not bars: differences are small, so the axis cannot start at zero, and a bar on an axis
    # that doesn't lies about proportions.
    points = [(row[metric], y) for y, row in enumerate(rows) if row.get(metric) is not None]
    values = [value for value, _ in points]
    spread = max(values) - min(values) or 1.0
    axes.set_xlim(min(values) - 0.35 * spread, max(values) + 0.45 * spread)
    if rows[0].get(metric) is not None:
        axes.axvline(
            rows[0][metric], color=colors.muted, linewidth=1, linestyle=(0, (4, 3)), zorder=1
        )
    for value, y in points:
        axes.plot(value, y, 'o', color=colors.metric, markersize=9, zorder=4)
        _label(axes, value, y, f'{value:.2f}', gap=8, colors=colors)
    axes.set_title(metric, **_title(colors))


def _draw_size(axes: Axes, rows: list[dict[str, Any]], colors: Theme) -> None:
    keys = [key for key in _SIZES if rows[0].get(key)]
    thickness = 0.7 / len(keys)
    for i, key in enumerate(keys):
        offset = (i - (len(keys) - 1) / 2) * thickness
        texts = [format_value(key, row.get(key)) for row in rows]
        color = getattr(colors, key)
        percents = _relative(rows, key)
        _bars(axes, percents, texts, offset, thickness, color, _SIZES[key], colors)
    axes.legend(
        loc='upper center',
        bbox_to_anchor=(0.5, 0),
        borderaxespad=1.8,
        ncols=len(keys),
        frameon=False,
        fontsize=9,
        labelcolor=colors.ink,
        handlelength=1,
        handleheight=1,
    )
    axes.set_title(f'size, % of {rows[0]["method"]}', **_title(colors))


def _draw_latency(axes: Axes, rows: list[dict[str, Any]], colors: Theme) -> None:
    percents = _relative(rows, 'latency_ms')
    texts = [f'{row["latency_ms"]:.3g} ms' if row.get('latency_ms') else '' for row in rows]
    halves = [
        0.5 * percent * (row.get('latency_iqr_ms') or 0) / row['latency_ms'] if percent else 0.0
        for percent, row in zip(percents, rows, strict=True)
    ]
    _bars(axes, percents, texts, 0, 0.45, colors.latency, 'latency', colors, halves)
    axes.set_title(f'latency, % of {rows[0]["method"]}', **_title(colors))


def _bars(
    axes: Axes,
    percents: list[float | None],
    texts: list[str],
    offset: float,
    thickness: float,
    color: str,
    name: str,
    colors: Theme,
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
        colors: Of all else.
        halves: Half the length of a whisker at the end of each bar.
    """
    drawn = [(y, percent) for y, percent in enumerate(percents) if percent is not None]
    rows, widths = zip(*drawn, strict=True)
    places = [y + offset for y in rows]
    axes.barh(places, widths, height=thickness * 0.92, color=color, label=name, zorder=2)
    axes.axvline(100, color=colors.muted, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    for y, width, place in zip(rows, widths, places, strict=True):
        half = halves[y] if halves else 0.0
        if half:
            ends = [width - half, width + half]
            axes.plot(ends, [place, place], color=colors.ink, linewidth=1.4, zorder=4)
        _label(axes, width + half, place, f'{width:.0f}%  {texts[y]}', gap=5, colors=colors)
    axes.set_xlim(0, max(axes.get_xlim()[1], 1.45 * max(*widths, 100)))


def _label(axes: Axes, x: float, y: float, text: str, gap: float, colors: Theme) -> None:
    axes.annotate(
        text,
        (x, y),
        xytext=(gap, 0),
        textcoords='offset points',
        va='center',
        fontsize=8.5,
        color=colors.ink,
        # Keeps grid and reference lines out of the digits.
        bbox=dict(facecolor=colors.ground, edgecolor='none', pad=0.8),
        zorder=3,
    )


def _title(colors: Theme) -> dict[str, Any]:
    return dict(loc='left', fontsize=10.5, color=colors.ink, pad=8)


def _dress(axes: Axes, colors: Theme) -> None:
    for side in ('top', 'right', 'left'):
        axes.spines[side].set_visible(False)
    axes.spines['bottom'].set_color(colors.grid)
    axes.tick_params(axis='x', colors=colors.muted, labelsize=8.5, length=0)
    axes.tick_params(axis='y', length=0, labelsize=10)
    axes.grid(axis='x', color=colors.grid, linewidth=0.8, zorder=0)
    axes.set_axisbelow(True)
    axes.set_facecolor(colors.ground)
