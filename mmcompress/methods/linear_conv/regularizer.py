"""The losses of LinearConv: primary filters that differ, combinations of few of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

#: A filter that deviates from its mean by less than so many roundings of the largest filter of
#: its layer has no variance.
ROUNDINGS = 8


def correlation(primaries: Sequence[tuple[Tensor, int]]) -> Tensor:
    """How far primary filters are from uncorrelated: ``sum |corr(W_p) - I|``.

    ``corr`` is Pearson's correlation of the flattened filters (``numpy.corrcoef``), within each
    set of filters that are combined; the sum goes over its entries, and over sets and layers.
    Filters without variance correlate with nothing: constant ones, and those of a single weight.
    The diagonal is left out, as it is 0 whatever the filters are.

    Args:
        primaries: For each layer its primary filters, ``Tensor[G p, c', kh, kw]``, and G: its
            groups, or 1 where filters are combined across groups.

    Returns:
        ``Tensor[]``; 0 where there are no layers.

    Source: Kahatapitiya and Rodrigo, arXiv:1907.11432, the regularizer.
    """
    if not primaries:
        return torch.zeros(())
    return torch.stack([_correlation(primary, groups) for primary, groups in primaries]).sum()


def _correlation(primary: Tensor, groups: int) -> Tensor:
    rows = primary.reshape(groups, len(primary) // groups, -1)
    centred = rows - rows.mean(-1, keepdim=True)
    squares = centred.square().sum(-1, keepdim=True)
    with torch.no_grad():
        largest = rows.square().sum(-1).max()
        varies = squares > (ROUNDINGS * torch.finfo(rows.dtype).eps) ** 2 * largest
    # Where nothing varies, 0 / 1 has a gradient, which 0 / 0 hasn't.
    unit = centred * (varies / squares.where(varies, 1).sqrt())
    # Each pair counts twice, as in the whole matrix.
    return 2 * (unit @ unit.mT).triu(1).abs().sum()


def sparsity_loss(combinations: Sequence[Tensor]) -> Tensor:
    """``sum |A|``: what draws the combinations of the sparse variant to zero.

    Args:
        combinations: A of each layer, ``Tensor[G, m, p]``.

    Returns:
        ``Tensor[]``; 0 where there are no layers.

    Source: Kahatapitiya and Rodrigo, arXiv:1907.11432, the sparse version.
    """
    if not combinations:
        return torch.zeros(())
    return torch.stack([combination.abs().sum() for combination in combinations]).sum()
