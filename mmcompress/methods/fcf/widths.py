"""How many filters each layer keeps."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mmcompress.core.errors import CompressionError


def magnitude_widths(
    scores: Sequence[Tensor],
    keep_ratio: float,
    low: float = 0.1,
    high: float = 0.9,
    exclusive: bool = False,
) -> list[int]:
    """Widths by one threshold on the magnitude of all filters, FCF's rule ``magnitude``.

    The threshold is such that ``keep_ratio`` of all filters reach it. What is kept of a layer is
    the fraction of its filters that do, no less than ``low`` and no more than ``high``; with these
    bounds the total may differ from ``keep_ratio``.

    Args:
        scores: For each layer ``Tensor[n]``, the mean absolute weight of its filters.
        keep_ratio: Fraction of all filters to keep, above 0 and at most 1.
        low: The smallest fraction of a layer.
        high: The largest fraction of a layer.
        exclusive: Keep only filters above the threshold, which is the first of the others in
            ascending order: one filter less than ``keep_ratio`` says, as the authors' program
            counts. By default those that reach the smallest of the kept ones.

    Returns:
        For each layer k, ``int(n * fraction)`` and at least 1.

    Raises:
        CompressionError: If ``keep_ratio`` is none.

    Source: the authors' code, with ``exclusive``.
    """
    if not 0 < keep_ratio <= 1:
        raise CompressionError(
            f'the keep ratio is {keep_ratio}; it has to be above 0 and at most 1'
        )
    ranked = torch.cat([score.flatten() for score in scores]).sort(descending=True).values
    if exclusive:
        # 1 - 0.9 is 0.09999999999999998 in floating point and means a rate of 0.1.
        gone = int(len(ranked) * round(1 - keep_ratio, 9))
        threshold = ranked[len(ranked) - 1 - gone]
    else:
        threshold = ranked[max(round(keep_ratio * len(ranked)), 1) - 1]
    widths = []
    for score in scores:
        n = score.numel()
        reached = int((score > threshold if exclusive else score >= threshold).sum())
        # Bounds as widths: int(n * (reached / n)) may be one less than `reached`.
        widths.append(max(min(max(reached, int(n * low)), int(n * high)), 1))
    return widths
