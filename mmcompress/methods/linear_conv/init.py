"""Primary filters and their combinations from a dense weight."""

from __future__ import annotations

import torch
from torch import Tensor

from mmcompress.core.errors import CompressionError
from mmcompress.core.filters.low_rank import leading_rows, wide

from .filters import inverse_order


@torch.no_grad()
def fit_linear_conv(
    weight: Tensor,
    groups: int,
    num_primary: int,
    rank: int | None = None,
    project: bool = False,
) -> dict[str, Tensor]:
    """Primary filters out of those of a dense layer, and the combinations nearest to the others.

    In each group, QR with column pivoting picks the primary filters: each the one that the picked
    ones say least about. The others follow by least squares; where several combinations give the
    same, the smallest one.

    With a rank, what comes nearest is ``A P`` of that rank, and not A itself: the error is to be
    small in the filters, and an error of A counts there as much as the primary filters are long.
    ``A P = U S V^T`` is cut off after r terms, which stay within reach of P:
    ``V^T = (V^T pinv(P)) P``. A column of ``left`` and its row of ``right`` have the same norm, so
    that both train at one rate. Terms that aren't there to be had leave a column of zeros, and a
    row with a 1 in ``right``, or they would never train.

    Args:
        weight: ``Tensor[n, c', kh, kw]``, where a filter has c' channels.
        groups: ``G``: 1 where filters are combined across the groups of the convolution.
        num_primary: ``p``, primary filters of each group, from 1 to ``n / G``.
        rank: ``r``, from 1 to p; None for combinations of full rank.
        project: Whether filters are first projected onto the p leading singular vectors of their
            group. With full rank nothing of p primary filters is nearer then, but the primary
            filters are no longer those of the dense layer.

    Returns:
        ``primary``, ``Tensor[G p, c', kh, kw]``, filters of the layer in ascending order;
        ``order``, ``int64[n]``; and ``combination``, ``Tensor[G, m, p]`` with ``m = n / G - p``,
        or ``left``, ``Tensor[G, m, r]``, and ``right``, ``Tensor[G, r, p]``: what
        :func:`~mmcompress.methods.linear_conv.filters.materialise` takes.

    Raises:
        CompressionError: If p or r is not in its range, or a weight isn't finite.

    Source: Kahatapitiya and Rodrigo, arXiv:1907.11432, for the form; the fit is ours.
    """
    each = len(weight) // groups
    if not 1 <= num_primary <= each:
        raise CompressionError(
            f'num_primary is {num_primary}; a group of {each} filters has 1 to {each} primary ones'
        )
    if rank is not None and not 1 <= rank <= num_primary:
        raise CompressionError(
            f'rank is {rank}; combinations of {num_primary} primary filters have 1 to {num_primary}'
        )
    if not weight.isfinite().all():
        raise CompressionError('the dense weight has entries that are not finite')
    filters = wide(weight).reshape(groups, each, -1)
    dims = filters.shape[2]
    if project:
        bases = torch.stack([leading_rows(rows, min(num_primary, dims)) for rows in filters])
        filters = filters @ bases.mT @ bases
    # All that follows depends on products of filters alone: of n / G coordinates they are smaller.
    coordinates = torch.linalg.qr(filters.mT, mode='r').R.mT
    chosen = torch.stack([_most_independent(rows, num_primary) for rows in coordinates])
    order = inverse_order(chosen, each)
    rows = order.argsort().view(groups, each)
    primary = filters.flatten(0, 1)[rows[:, :num_primary].flatten()]
    stack = coordinates.flatten(0, 1)[rows]
    picked, others = stack[:, :num_primary], stack[:, num_primary:]
    # Singular values below the rounding of the weights say nothing.
    least = max(
        torch.finfo(weight.dtype).eps, max(num_primary, dims) * torch.finfo(filters.dtype).eps
    )
    # The pseudo-inverse of P is `directions^T inverse`; where there is no direction, zero.
    u, sizes, directions = torch.linalg.svd(picked, full_matrices=False)
    there = sizes > least * sizes[:, :1]
    inverse = (there / sizes.where(there, 1)).unsqueeze(2) * u.mT
    seen = others @ directions.mT
    fitted = dict(primary=primary.reshape(-1, *weight.shape[1:]))
    if rank is None:
        fitted['combination'] = seen @ inverse
    else:
        fitted['left'], fitted['right'] = _factors(seen, inverse, rank, least)
    fitted = {name: tensor.to(weight.dtype).contiguous() for name, tensor in fitted.items()}
    return dict(fitted, order=order)


def _most_independent(rows: Tensor, count: int) -> Tensor:
    """Indices of so many rows that QR with column pivoting takes first, ascending.

    Raises:
        CompressionError: If scipy, which has this decomposition, is not installed.
    """
    try:
        from scipy.linalg import qr
    except ImportError as error:
        raise CompressionError(
            "a fit to dense weights needs scipy: install it with `pip install 'mmcompress[fit]'`"
        ) from error
    pivots = qr(rows.T.cpu().numpy(), mode='r', pivoting=True)[1]
    return torch.as_tensor(pivots[:count], dtype=torch.int64, device=rows.device).sort().values


def _factors(seen: Tensor, inverse: Tensor, rank: int, least: float) -> tuple[Tensor, Tensor]:
    """Left and right factor of the combinations, of equal norms.

    Args:
        seen: Coordinates of the filters ``A P`` in an orthonormal basis, ``Tensor[G, m, k]``.
        inverse: Combinations that are that basis, ``Tensor[G, k, p]``.
        rank: ``r``.
        least: Singular values that are smaller than so much of the largest one are zero.

    Returns:
        ``Tensor[G, m, r]`` and ``Tensor[G, r, p]``.
    """
    u, sizes, terms = torch.linalg.svd(seen, full_matrices=False)
    u, sizes, right = u[..., :rank], sizes[:, :rank], (terms @ inverse)[:, :rank]
    norms = right.norm(dim=2)
    there = (sizes > least * sizes[:, :1]) & (norms > 0)
    common = (sizes * norms).sqrt()
    scale = (there * common / norms.where(there, 1)).unsqueeze(2)
    found = there.shape[1]
    groups, m, _ = u.shape
    left = u.new_zeros(groups, m, rank)
    left[..., :found] = u * (there * common).unsqueeze(1)
    ones = torch.eye(rank, inverse.shape[2], dtype=u.dtype, device=u.device)
    padded = ones.repeat(groups, 1, 1)
    padded[:, :found] = torch.where(there.unsqueeze(2), right * scale, padded[:, :found])
    return left, padded
