"""How many filters each layer keeps."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mmcompress.core.errors import CompressionError


def magnitude_widths(
    scores: Sequence[Tensor], keep_ratio: float, low: float = 0.1, high: float = 0.9
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

    Returns:
        For each layer k, ``int(n * fraction)`` and at least 1.

    Raises:
        CompressionError: If ``keep_ratio`` is none.

    Source: the authors' code.
    """
    if not 0 < keep_ratio <= 1:
        raise CompressionError(
            f'the keep ratio is {keep_ratio}; it has to be above 0 and at most 1'
        )
    ranked = torch.cat([score.flatten() for score in scores]).sort(descending=True).values
    threshold = ranked[max(round(keep_ratio * len(ranked)), 1) - 1]
    widths = []
    for score in scores:
        n = score.numel()
        reached = int((score >= threshold).sum())
        # Bounds as widths: int(n * (reached / n)) may be one less than `reached`.
        widths.append(max(min(max(reached, int(n * low)), int(n * high)), 1))
    return widths
