"""Runs side by side: their curves, and what their metric costs."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

from mmcompress.core.base.figure import Figure, Series

from .runs import less_is_better

#: Metrics that say how many of the images are right.
SHARES = re.compile(r'(^|/)(top\d+|accuracy)$')
#: What a metric can cost: by key of a run the title, the axis, and by what to divide.
COSTS = {
    'latency_ms': ('latency', 'ms for one image, torch', 1),
    'macs': ('multiply-accumulates', 'million MACs', 1e6),
    'file_bytes': ('file size', 'kB', 1e3),
}


def wilson(percent: float, images: int, z: float = 1.96) -> tuple[float, float]:
    """The 95 % interval of a share of images that are right, in percent.

    Args:
        percent: The share.
        images: How many there are.
        z: Quantile of the normal distribution.

    Source: Wilson, 1927.

    Example:
        >>> [round(end, 1) for end in wilson(50.0, 100)]
        [40.4, 59.6]
    """
    share = percent / 100
    centre = share + z * z / (2 * images)
    spread = z * math.sqrt(share * (1 - share) / images + z * z / (4 * images * images))
    low, high = ((centre + sign * spread) / (1 + z * z / images) for sign in (-1, 1))
    # Rounding must not put the share itself outside.
    return min(100 * low, percent), max(100 * high, percent)


def interval(metric: str, value: float, images: int | None) -> tuple[float, float] | None:
    """The 95 % interval of a metric, None where the images don't give one.

    Args:
        metric: Its name.
        value: In percent.
        images: In the data that it was evaluated on, if that is known.
    """
    if not images or not SHARES.search(metric) or not 0 <= value <= 100:
        return None
    return wilson(value, images)


def pareto_front(points: Sequence[tuple[float, float]], less: bool = False) -> list[int]:
    """Points that no other one beats: none is as cheap and better, or as good and cheaper.

    Args:
        points: Cost and metric of each.
        less: Whether the metric is better the smaller it is.

    Returns:
        Their indices, the cheapest first.

    Example:
        >>> pareto_front([(1, 50), (2, 60), (3, 55)])
        [0, 1]
    """
    sign = 1 if less else -1
    front: list[int] = []
    best = math.inf
    for index in sorted(range(len(points)), key=lambda i: (points[i][0], sign * points[i][1])):
        value = sign * points[index][1]
        if value < best:
            front.append(index)
            best = value
    return front


def curves(runs: Sequence[dict[str, Any]], metric: str | None) -> list[Figure]:
    """Figures of training: the loss, and the metric on validation data."""
    trained = [run for run in runs if run['history']]
    figures = []
    losses = [
        Series(run['name'], **run['history']['losses']['loss'], style=style)
        for style, run in enumerate(runs)
        if run in trained and 'loss' in run['history']['losses']
    ]
    if losses:
        note = 'All losses of a run together, those of its method among them.'
        figures.append(
            Figure('loss', 'Training loss', 'lines', 'iteration', 'loss', losses, note, log=True)
        )
    measured = [
        Series(run['name'], **run['history']['metrics'][metric], style=style)
        for style, run in enumerate(runs)
        if run in trained and metric in run['history']['metrics']
    ]
    if measured:
        steps = {'epoch' if run['history']['by_epoch'] else 'iteration' for run in trained}
        figures.append(
            Figure(
                'metric',
                'Metric during training',
                'lines',
                ' or '.join(sorted(steps)),
                str(metric),
                measured,
                'On validation data, after each evaluation.',
            )
        )
    return figures


def loss_parts(run: dict[str, Any]) -> list[Figure]:
    """A figure of what the loss of a run is made of, if it has several parts."""
    losses = {k: v for k, v in (run['history'] or {}).get('losses', {}).items() if k != 'loss'}
    if len(losses) < 2 and not any(name.startswith('loss_') for name in losses):
        return []
    series = [Series(name, **curve) for name, curve in losses.items()]
    note = 'Each as it is added to the others, with its weight.'
    return [Figure('losses', 'Parts of the loss', 'lines', 'iteration', 'loss', series, note, True)]


def trade_offs(runs: Sequence[dict[str, Any]], metric: str | None) -> list[Figure]:
    """Figures of the metric against each cost, with the Pareto front."""
    figures = []
    for key, (title, axis, unit) in COSTS.items():
        known = [run for run in runs if run.get(key) and _has(run, metric)]
        if len(known) < 2:
            continue
        points = [(run[key] / unit, run['metric']['value']) for run in known]
        front = pareto_front(points, less_is_better(str(metric)))
        series = [
            Series(run['name'], [x], [y], *_ends(run['metric']['interval']), runs.index(run))
            for run, (x, y) in zip(known, points, strict=True)
        ]
        x, y = ([points[index][side] for index in front] for side in (0, 1))
        figures.append(
            Figure(
                f'metric-{key.partition("_")[0]}',
                f'Metric against {title}',
                'points',
                axis,
                str(metric),
                series,
                'Better is up' if not less_is_better(str(metric)) else 'Better is down',
                front=Series('Pareto front', x, y),
            )
        )
        ends = ', with 95 % intervals of the images' if any(s.low for s in series) else ''
        figures[-1].note += f' and to the left{ends}. No run beats those on the front in both.'
    return figures


def _ends(interval: Sequence[float] | None) -> tuple[list[float] | None, list[float] | None]:
    return (None, None) if interval is None else ([interval[0]], [interval[1]])


def _has(run: dict[str, Any], metric: str | None) -> bool:
    """Whether a run has a value of a metric; one of a training that diverged is none."""
    found = run.get('metric')
    return found is not None and found['name'] == metric and math.isfinite(found['value'])
