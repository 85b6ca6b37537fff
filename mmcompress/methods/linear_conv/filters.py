"""Filters of a layer from its primary ones and their linear combinations."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def materialise(
    primary: Tensor,
    factors: Sequence[Tensor],
    order: Tensor | None,
    groups: int,
    shape: Sequence[int],
) -> Tensor:
    """The weight of a layer, ``W = [P; A P]`` in each set, filters in the order of the layer.

    A set is a group of the convolution, or all of its filters, where these are combined across
    groups: G is 1 then, whatever the groups are, and a filter has c' channels in either case.

    Two factors go onto the primary filters one after the other: ``left (right P)`` takes fewer
    products than ``(left right) P`` wherever the rank is below p, and keeps no A.

    Args:
        primary: P of all sets, ``Tensor[G p, c', kh, kw]``.
        factors: A, ``Tensor[G, m, p]``; or left and right, ``Tensor[G, m, r]`` and
            ``Tensor[G, r, p]``, whose product it is.
        order: ``int64[n]``, the row of ``[P_1; A_1 P_1; P_2; A_2 P_2; ...]`` that each filter is
            (:func:`inverse_order`); None where they are in that order.
        groups: ``G``.
        shape: ``(n, c', kh, kw)`` with ``n = G (p + m)``; m may be 0.

    Returns:
        ``Tensor[n, c', kh, kw]``, differentiable.

    Source: Kahatapitiya and Rodrigo, arXiv:1907.11432, whose program has one set; sets that are
    groups are ours.
    """
    if groups == 1:
        # A plain matrix product has less around it than a batched one.
        rows = primary.flatten(1)
        combined = rows
        for factor in reversed(factors):
            combined = factor.squeeze(0) @ combined
        stack = torch.cat([rows, combined])
    else:
        rows = primary.reshape(groups, len(primary) // groups, -1)
        combined = rows
        for factor in reversed(factors):
            combined = factor @ combined
        stack = torch.cat([rows, combined], 1).flatten(0, 1)
    if order is not None:
        stack = stack.index_select(0, order)
    return stack.view(shape)


def inverse_order(chosen: Tensor, each: int) -> Tensor:
    """Which row of the stack of :func:`materialise` each filter of a layer is.

    Args:
        chosen: ``int64[G, p]``, the index within its group of each primary filter: row i of the
            stack of group g is filter ``chosen[g, i]``. The others follow in ascending order.
        each: ``n / G``, filters of a group.

    Returns:
        ``int64[n]``.
    """
    groups, count = chosen.shape
    is_primary = chosen.new_zeros(groups, each, dtype=torch.bool).scatter(1, chosen, True)
    others = (~is_primary).nonzero()[:, 1].view(groups, each - count)
    # This is the filter of each row; the inverse of a permutation is what sorts it.
    filters = torch.cat([chosen, others], 1)
    first = each * torch.arange(groups, device=chosen.device)
    return (filters.argsort(1) + first[:, None]).flatten()
