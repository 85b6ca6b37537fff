"""When channels go, and how many: pure functions of time, and of scores."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

SCHEDULES = ('cubic', 'linear')


def due(share: float, steps: int, begin: float, end: float) -> int:
    """How many pruning steps are to be over.

    The first of ``steps`` is at ``begin``, the last at ``end``, the others evenly between; one
    step alone is at ``begin``.

    Args:
        share: Of training that is over, from 0 to 1.
        steps: All of them, n.
        begin: Share of training.
        end: Share of training.
    """
    times = [begin + (end - begin) * i / max(steps - 1, 1) for i in range(steps)]
    # 0.1 + 0.2 is 0.30000000000000004 in floating point and means 0.3.
    return sum(time <= share + 1e-9 for time in times)


def kept_after(step: int, steps: int, keep_ratio: float, schedule: str) -> float:
    """The keep ratio once ``step`` of ``steps`` are over, which is ``keep_ratio`` at the end.

    Args:
        step: From 1 to ``steps``.
        steps: All of them.
        keep_ratio: At the end.
        schedule: ``'linear'``: as much goes in each step. ``'cubic'``: most in the first,
            ``1 - (1 - step / steps)^3`` of what is to go (Zhu and Gupta, 2018, Eq. 1).
    """
    done = step / steps
    return 1 - (1 - keep_ratio) * (done if schedule == 'linear' else 1 - (1 - done) ** 3)


def ranked_widths(scores: Sequence[Tensor], keep_ratio: float, least: float) -> list[int]:
    """How many channels of each unit are among the best of all.

    Args:
        scores: ``Tensor[n]`` of each unit; ``-inf`` for channels that are gone.
        keep_ratio: Share of all channels that stay.
        least: The smallest share of a unit that stays, where so many are left.

    Returns:
        A width for each unit, at least 1. Units that the ranking would leave fewer than ``least``
        of keep more than it says. Where fewer are left than may stay, no unit gets wider again.
    """
    together = torch.cat([score.flatten().double() for score in scores])
    count = max(int(len(together) * keep_ratio + 1e-6), 1)
    owner = torch.cat([torch.full((len(s),), i) for i, s in enumerate(scores)])
    best = together.argsort(descending=True, stable=True)[:count]
    # Widths that were rounded down leave fewer channels than the ranking asks for.
    best = best[together[best] > -torch.inf].cpu()
    widths = owner[best].bincount(minlength=len(scores)).tolist()
    return [max(w, int(len(s) * least), 1) for w, s in zip(widths, scores, strict=True)]
