"""What a report shows of FCF: where its scalars are."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mmcompress.core.base.figure import Figure, Series


def histogram_figure(scalars: Sequence[Tensor], bins: int, edges: tuple[float, float]) -> Figure:
    """The histogram of all scalars.

    Args:
        scalars: ``Tensor[n]`` of each unit.
        bins: Number of bins, of equal width.
        edges: From where to where; scalars further out belong to the outermost bins.
    """
    v = torch.cat([tensor.detach().float().cpu() for tensor in scalars])
    counts = v.clamp(*edges).histc(bins, *edges)
    return Figure(
        'scalars',
        'Scalars of filters',
        'steps',
        'v',
        'filters',
        [Series('v', torch.linspace(*edges, bins + 1).tolist(), counts.int().tolist())],
        'Filters at 0 are removed, those at 1 stay. Training with the constraint is over when '
        'there is nothing between.',
    )
