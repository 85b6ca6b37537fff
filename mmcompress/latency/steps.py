"""Which multiples of channels a runtime is fast at."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from .table import Grid, TimeTable, key_of
from .works import Work

#: Multiples that a runtime may be fast at; and how much more time it may take at the multiples of
#: one than at those of another that is as good.
MULTIPLES, AS_GOOD = (4, 8, 16, 32), 0.02
#: Layers whose times are scanned for it, and channels that a scan is wide.
SCANNED, SCAN = 4, 64


def fast_multiple(table: TimeTable, works: Sequence[Work]) -> int:
    """What widths should be multiples of, so that a layer's time follows its channels.

    The heaviest layers are timed at multiples of four. It is the smallest multiple that is as good
    as any other.
    """
    waste: dict[int, list[float]] = {multiple: [] for multiple in MULTIPLES}
    plain = {
        key_of(w.layer): w
        for w in works
        if not w.layer['depthwise'] and w.layer['groups'] == 1 and min(w.ins, w.outs) >= SCAN
    }
    heavy = sorted(plain.values(), key=lambda w: -w.amounts[0] * w.ins * w.outs)[:SCANNED]
    for work, side in itertools.product(heavy, (0, 1)):
        for multiple, more in waste_of(table, work, side).items():
            waste[multiple].append(more)
    middle = {m: float(np.median(each)) for m, each in waste.items() if each}
    if not middle:
        return 1
    least = min(middle.values())
    return next(m for m in MULTIPLES if m in middle and middle[m] <= least + AS_GOOD)


def waste_of(table: TimeTable, work: Work, side: int) -> dict[int, float]:
    """How much more time multiples take than the fastest widths around them would, in the mean."""
    widths = scan_of(work, side)
    ins, outs = [work.ins], [work.outs]
    ins, outs = (widths, outs) if side == 0 else (ins, widths)
    table.measure([Grid(work.layer, ins, outs)])
    points = table.points[key_of(work.layer)]
    pair = (lambda w: (w, work.outs)) if side == 0 else (lambda w: (work.ins, w))
    times = {w: points[pair(w)] for w in widths}
    hull = _below(times)
    return {
        multiple: float(np.mean([times[w] / hull(w) - 1 for w in widths if w % multiple == 0]))
        for multiple in MULTIPLES
    }


def _below(times: Mapping[int, float]) -> Callable[[int], float]:
    """The highest line with no bends to the left that is below all times."""
    corners: list[int] = []
    for w in sorted(times):
        while len(corners) > 1:
            a, b = corners[-2:]
            if (times[b] - times[a]) * (w - a) < (times[w] - times[a]) * (b - a):
                break
            corners.pop()
        corners.append(w)
    return lambda w: float(np.interp(w, corners, [times[corner] for corner in corners]))


def scan_of(work: Work, side: int) -> list[int]:
    """The widths of a scan: multiples of four, up to 96 where the layer is as wide."""
    first = min((work.ins, work.outs)[side] - SCAN, MULTIPLES[-1])
    first = first // MULTIPLES[-1] * MULTIPLES[-1] + MULTIPLES[0]
    return list(range(first, first + SCAN, MULTIPLES[0]))
