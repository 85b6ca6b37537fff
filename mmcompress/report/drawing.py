"""Draw the figures of a report: as PNG, and as SVG whose colours a page chooses."""

from __future__ import annotations

import io
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmcompress.core.base.figure import Figure, Series

from .plot import THEMES, Theme

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Colours of series, on white and on black. Lines and marks differ in form, too.
COLORS = {
    'light': (
        *('#1f6f8c', '#c44e2c', '#6a4c94', '#2f7d4f'),
        *('#a8740b', '#b0407c', '#4a5a6b', '#0b7a75'),
    ),
    'dark': (
        *('#5cb8d6', '#ff8a66', '#b08fe1', '#6cc58d'),
        *('#e0b358', '#ef8dbe', '#a9b6c4', '#4fc4be'),
    ),
}
MARKS = ('o', 's', '^', 'D', 'v', 'P', 'X', '*', '<', '>', 'p', 'h')
DASHES: tuple[Any, ...] = ('-', (0, (5, 2)), (0, (1, 1.5)), (0, (6, 2, 1, 2)))
#: More series than this share one mark in the legend.
MOST_NAMED = 12
#: Inches, and the size of texts in points.
WIDTH, HEIGHT, TEXT = 5.2, 3.1, 9


def png(figure: Figure, path: str | Path) -> None:
    """Draw a figure as PNG, on white.

    Args:
        figure: The numbers.
        path: The file; its folder is made when missing.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _drawn(figure).savefig(path, dpi=150, facecolor=THEMES['light'].ground, format='png')


def svg(figure: Figure) -> str:
    """Draw a figure as an SVG element for a page.

    Its colours are those of the CSS variables of :func:`variables`, its texts are texts, and it is
    as wide as its place.
    """
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context({'svg.fonttype': 'none'}):
        _drawn(figure).savefig(buffer, format='svg', transparent=True)
    text = buffer.getvalue()
    text = text[text.index('<svg') :]
    # The style is that of the page, which has no metadata either.
    text = re.sub(r'<(metadata|style)\b.*?</\1>', '', text, flags=re.DOTALL)
    # Only clip paths and marks are referred to.
    text = re.sub(r'<g id="[^"]*"', '<g', text)
    box = re.search(r'viewBox="[^"]*"', text)
    names = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    start = f'<svg {names} {box[0] if box else ""} aria-hidden="true">'
    text = start + text[text.index('>') + 1 :]
    # One family for all texts of the page; what else the style says stays.
    text = re.sub(r'font: ([\w. ]*?px) [^;\"]*', r'font: \1 var(--font)', text)
    for name, color in variables('light').items():
        text = text.replace(color, f'var(--{name})')
    return text.strip()


def variables(theme: str) -> dict[str, str]:
    """The colours of the SVG elements by the name of their CSS variables.

    Args:
        theme: ``'light'`` or ``'dark'``.
    """
    colors = THEMES[theme]
    base = {name: getattr(colors, name) for name in ('ground', 'ink', 'muted', 'grid')}
    return {**base, **{f'series-{i}': color for i, color in enumerate(COLORS[theme])}}


def _drawn(figure: Figure) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    colors = THEMES['light']
    canvas = Canvas(figsize=(WIDTH, _height(figure)), layout='constrained')
    FigureCanvasAgg(canvas)
    axes = canvas.subplots()
    {
        'lines': _lines,
        'points': _points,
        'bars': _bars,
        'steps': _steps,
        'image': _image,
    }[figure.kind](axes, figure)
    axes.set_xlabel(figure.x, color=colors.ink, fontsize=TEXT)
    axes.set_ylabel(
        figure.side if figure.kind == 'image' else figure.y if figure.kind != 'bars' else '',
        color=colors.ink,
        fontsize=TEXT,
    )
    _dress(axes, figure, colors)
    _legend(canvas, axes, figure, colors)
    return canvas


def _height(figure: Figure) -> float:
    if figure.kind == 'bars':
        count = max(len(series.x) for series in figure.series)
        return 0.8 + 0.17 * count + 0.2 * (len(figure.series) > 1)
    rows = math.ceil(len(figure.series) / 2) if len(figure.series) <= MOST_NAMED else 1
    return HEIGHT + 0.19 * rows * (len(figure.series) > 1)


def _legend(canvas: Any, axes: Axes, figure: Figure, colors: Theme) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if len(labels) < 2 and len(figure.series) < 2:
        return
    longest = max(map(len, labels))
    canvas.legend(
        handles,
        labels,
        loc='outside lower left',
        ncols=1 if longest > 38 else 2 if longest > 18 else 3,
        frameon=False,
        fontsize=TEXT - 0.5,
        labelcolor=colors.ink,
        handlelength=2.6,
    )


def _style(index: int) -> dict[str, Any]:
    return dict(color=COLORS['light'][index % len(COLORS['light'])], zorder=3)


def _number(series: Series, place: int) -> int:
    return place if series.style is None else series.style


def _label(figure: Figure, index: int) -> str | None:
    """Of a series in the legend: many have one name for all."""
    many = len(figure.series) > MOST_NAMED
    name = f'{len(figure.series)} layers' if many else figure.series[index].name
    return _plain(name) if not (many and index) else None


def _plain(name: str) -> str:
    """A name as it is: matplotlib takes dollars for formulas, and hides what begins with a _."""
    return str(name).replace('$', r'\$').replace('_', ' ', 1 if str(name).startswith('_') else 0)


def _lines(axes: Axes, figure: Figure) -> None:
    from matplotlib.ticker import MaxNLocator

    many = len(figure.series) > MOST_NAMED
    for place, series in enumerate(figure.series):
        index = _number(series, place)
        style = dict(color=COLORS['light'][0], alpha=0.45, zorder=3) if many else _style(index)
        axes.plot(
            series.x,
            series.y,
            linestyle=DASHES[0] if many else DASHES[index % len(DASHES)],
            marker=None if many else MARKS[index % len(MARKS)],
            markevery=max(len(series.x) // 8, 1),
            markersize=4,
            linewidth=1 if many else 1.6,
            label=_label(figure, place),
            **style,
        )
        if series.low and series.high and not many:
            axes.fill_between(series.x, series.low, series.high, alpha=0.18, **style)
    if _is_log(figure):
        axes.set_yscale('log')
    if all(isinstance(x, int) for series in figure.series for x in series.x):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _points(axes: Axes, figure: Figure) -> None:
    for place, series in enumerate(figure.series):
        index = _number(series, place)
        x, y = series.x[0], series.y[0]
        if series.low and series.high:
            ends = [[y - series.low[0]], [series.high[0] - y]]
            axes.errorbar(
                [x],
                [y],
                ends,
                fmt='none',
                elinewidth=1.1,
                capsize=2.5,
                ecolor=THEMES['light'].muted,
            )
        axes.plot(
            [x],
            [y],
            MARKS[index % len(MARKS)],
            markersize=7,
            label=_label(figure, place),
            **_style(index),
        )
    if figure.front is not None and len(figure.front.x) > 1:
        axes.plot(
            figure.front.x,
            figure.front.y,
            color=THEMES['light'].ink,
            linewidth=1,
            linestyle=DASHES[1],
            zorder=2,
            label=figure.front.name,
        )
    if all(series.x[0] >= 0 for series in figure.series):
        axes.set_xlim(left=0)
        axes.margins(x=0.08)
        axes.set_xlim(left=0, right=1.1 * max(series.x[0] for series in figure.series) or 1)


def _bars(axes: Axes, figure: Figure) -> None:
    """The first series as frames, the others within them: before, and after."""
    names = figure.series[0].x
    framed = len(figure.series) > 1
    for index, series in enumerate(figure.series):
        frame = framed and not index
        places = [names.index(name) for name in series.x]
        axes.barh(
            places,
            series.y,
            height=0.82 if frame else 0.82 / (1.3 if framed else 1),
            facecolor='none' if frame else COLORS['light'][index % len(COLORS['light'])],
            edgecolor=THEMES['light'].muted if frame else 'none',
            linewidth=0.8,
            label=_label(figure, index),
            zorder=3 if frame else 2,
        )
    axes.set_yticks(range(len(names)), [_plain(name) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    if figure.log:
        axes.set_xscale('log')


def _steps(axes: Axes, figure: Figure) -> None:
    for index, series in enumerate(figure.series):
        axes.stairs(
            series.y,
            series.x,
            fill=len(figure.series) == 1,
            linewidth=1.6,
            linestyle=DASHES[index % len(DASHES)],
            label=_label(figure, index),
            **_style(index),
        )
    if figure.log:
        axes.set_yscale('symlog', linthresh=1)
        axes.set_ylim(bottom=0)


def _image(axes: Axes, figure: Figure) -> None:
    import numpy as np
    from matplotlib.colors import LogNorm

    series: Series = figure.series[0]
    values = np.array(series.y, dtype=float)
    if figure.log:
        values = np.ma.masked_less_equal(values, 0)
    low, high = figure.ends or (-0.5, len(values) - 0.5)
    drawn = axes.imshow(
        values,
        cmap='viridis',
        norm=LogNorm() if figure.log else None,
        aspect='auto',
        origin='lower',
        interpolation='nearest',
        extent=(series.x[0], series.x[-1], low, high),
    )
    colors = THEMES['light']
    bar = axes.figure.colorbar(drawn, ax=axes)
    bar.set_label(figure.y, color=colors.ink, fontsize=TEXT)
    bar.ax.tick_params(colors=colors.ink, labelsize=TEXT - 1, length=0, which='both')
    bar.outline.set_visible(False)


def _dress(axes: Axes, figure: Figure, colors: Theme) -> None:
    for side in ('top', 'right'):
        axes.spines[side].set_visible(False)
    for side in ('left', 'bottom'):
        axes.spines[side].set_color(colors.muted)
    axes.tick_params(
        which='both', colors=colors.muted, labelcolor=colors.ink, labelsize=TEXT - 1, length=3
    )
    axes.tick_params(which='minor', length=0)
    if figure.kind == 'lines' and _is_log(figure):
        _plain_numbers(axes.yaxis)
    if figure.kind != 'image':
        axes.grid(color=colors.grid, linewidth=0.7, axis='x' if figure.kind == 'bars' else 'both')
        axes.set_axisbelow(True)


def _is_log(figure: Figure) -> bool:
    """Whether curves are on a logarithmic axis: not where some are at or below 0."""
    numbers = [y for series in figure.series for y in series.y if math.isfinite(y)]
    return figure.log and min(numbers, default=0) > 0


def _plain_numbers(axis: Any) -> None:
    """Numbers of a logarithmic axis as 0.5 and 20, those between powers of ten where it's short."""
    from matplotlib.ticker import LogFormatter

    class Plain(LogFormatter):
        """Without powers."""

        def _num_to_string(self, x: float, vmin: float, vmax: float) -> str:
            return f'{x:g}'

    axis.set_major_formatter(Plain())
    axis.set_minor_formatter(Plain(labelOnlyBase=False, minor_thresholds=(1.6, 0.6)))
