"""How far a method has come, pass by pass over the data: read what training wrote, and draw it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmcompress.core.base.algorithm import PROGRESS
from mmcompress.core.base.figure import Figure, Series
from mmcompress.core.checks import is_number
from mmcompress.core.errors import CompressionError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: What counts training, as opposed to what is shown over it.
TIME = ('epoch', 'iteration')


def read_progress(work_dir: str | os.PathLike) -> list[dict[str, Any]]:
    """The progress of a training, of all its starts and resumes.

    Args:
        work_dir: The folder that training wrote to.

    Returns:
        One dict for each pass over the data, in their order. Where a pass was run more than
        once, since training was resumed or started again, the last one counts.

    Raises:
        CompressionError: If there's no such folder, or no progress in it.
    """
    work_dir = Path(work_dir)
    if not work_dir.is_dir():
        raise CompressionError(f'work_dir: there is no folder {str(work_dir)!r}')
    # The folders' names are times.
    starts = [own for file in sorted(work_dir.glob(f'*/{PROGRESS}')) if (own := _rows(file))]
    if not starts:
        below = sorted({str(path.parents[1]) for path in work_dir.glob(f'*/*/{PROGRESS}')})
        hint = f'; there is some in {", ".join(below)}' if below else ''
        raise CompressionError(
            f'work_dir: {str(work_dir)!r} has no */{PROGRESS}, which trainings write{hint}'
        )
    rows: dict[int, dict[str, Any]] = {}
    for lines in starts:
        # What an earlier start did after this one began anew is not part of its history.
        rows = {key: row for key, row in rows.items() if key < lines[0]['iteration']}
        rows.update({line['iteration']: line for line in lines})
    return list(rows.values())


def _rows(file: Path) -> list[dict[str, Any]]:
    """One dict for each whole line; the last one may lack its end, if training was killed."""
    lines = file.read_text(encoding='utf-8').splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith('\n')]


def what_was_trained(work_dir: str | os.PathLike) -> str:
    """Method and config of a training, as a heading; the name of the folder without a config.

    Args:
        work_dir: The folder that training wrote to, where mmengine left the config.
    """
    from mmengine.config import Config

    work_dir = Path(work_dir)
    configs = sorted(work_dir.glob('*.py'), key=lambda path: path.stat().st_mtime)
    if not configs:
        return work_dir.resolve().name
    model = Config.fromfile(configs[-1], import_custom_modules=False).get('model', {})
    method = str(model.get('type', '')).rpartition('.')[2]
    return ': '.join(filter(None, (method, configs[-1].stem)))


def progress_figures(rows: list[dict[str, Any]]) -> list[Figure]:
    """What a method has said of its progress: a curve for each number that changes.

    Args:
        rows: As :func:`read_progress` returns them.
    """
    if len(rows) < 2:
        return []
    epochs = [row['epoch'] for row in rows]
    figures = []
    if all('histogram' in row for row in rows):
        counts = np.array([row['histogram'] for row in rows]).T.tolist()
        sides = [epochs[0] - 0.5, epochs[-1] + 0.5]
        figures.append(
            Figure(
                'progress-histogram',
                'Scalars during training',
                'image',
                'epoch',
                'filters',
                [Series('filters', sides, counts)],
                'How many filters have which scalar.',
                log=True,
                ends=rows[0]['edges'],
                side='v',
            )
        )
    for name in _numbers(rows):
        values = [row[name] for row in rows]
        figures.append(
            Figure(
                f'progress-{name.replace("_", "-")}',
                f'{name} during training',
                'lines',
                'epoch',
                name,
                [Series(name, epochs, values)],
                'What the method reports after each pass over the data.',
            )
        )
    return figures


def _numbers(rows: list[dict[str, Any]]) -> list[str]:
    """Names of the numbers that all rows have, and that change."""
    numbers = [k for k, v in rows[0].items() if is_number(v) and k not in TIME]
    there = [name for name in numbers if all(is_number(row.get(name)) for row in rows)]
    return [name for name in there if len({row[name] for row in rows}) > 1]


def progress_plot(
    rows: list[dict[str, Any]], path: str | os.PathLike, title: str | None = None
) -> None:
    """Draw a PNG: the histogram over time, and below it a curve for each number that changes.

    Args:
        rows: As :func:`read_progress` returns them.
        path: Where to write; its folder is made when missing.
        title: A heading.
    """
    numbers = [k for k, v in rows[0].items() if isinstance(v, (int, float)) and k not in TIME]
    names = [name for name in numbers if len({row[name] for row in rows}) > 1] or numbers
    images = 'histogram' in rows[0]
    heights = [2.5] * images + [1] * len(names)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 1 + sum(heights)), layout='constrained')
    FigureCanvasAgg(figure)
    all_axes = figure.subplots(
        len(heights), sharex=True, squeeze=False, gridspec_kw=dict(height_ratios=heights)
    )[:, 0]
    epochs = [row['epoch'] for row in rows]
    if images:
        _draw_histogram(all_axes[0], rows)
    for axes, name in zip(all_axes[images:], names, strict=True):
        axes.plot(epochs, [row[name] for row in rows], color='#1f6f8b', marker='.')
        axes.set_ylabel(name, rotation=0, ha='right', va='center')
        axes.grid(color='#e4e7eb')
    all_axes[-1].set_xlabel('epoch')
    if title:
        figure.suptitle(title)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def _draw_histogram(axes: Axes, rows: list[dict[str, Any]]) -> None:
    from matplotlib.colors import LogNorm

    counts = np.array([row['histogram'] for row in rows]).T
    epochs = np.array([row['epoch'] for row in rows])
    low, high = rows[0]['edges']
    edges = np.linspace(low, high, len(counts) + 1)
    borders = np.append(epochs, epochs[-1] + 1) - 0.5
    drawn = axes.pcolormesh(
        borders, edges, np.ma.masked_equal(counts, 0), norm=LogNorm(vmin=1), cmap='viridis'
    )
    axes.figure.colorbar(drawn, ax=axes, label='filters')
    axes.set_ylabel('v')
