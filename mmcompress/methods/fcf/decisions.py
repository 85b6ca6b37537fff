"""Which filters a vector of scalars keeps, and whether it has decided that."""

from __future__ import annotations

import torch
from torch import Tensor

#: Filters whose scalars are closer than this to those on the other side are not decided.
MARGIN = 0.1


def margins(v: Tensor, k: int) -> Tensor:
    """How far the smallest scalar that stays is above the largest that goes, ``Tensor[L]``.

    0 when all are equal, as before training; 1 when k are one and the others zero.

    Args:
        v: Scalars, a row for each choice, ``Tensor[L, n]``.
        k: How many of each row stay; fewer than n.
    """
    ordered = v.sort(dim=-1, descending=True).values
    return ordered[..., k - 1] - ordered[..., k]


def undecided(v: Tensor, k: int) -> Tensor:
    """1 while nothing is decided in a row, 0 once everything is, ``Tensor[L]``.

    Args:
        v: Scalars, ``Tensor[L, n]``.
        k: How many of each row stay. If all do, there is nothing to decide.
    """
    if k >= v.shape[-1]:
        return v.new_zeros(v.shape[:-1])
    return 1 - margins(v, k).clamp(0, 1)


def choose(v: Tensor, k: int, *hints: Tensor) -> tuple[Tensor, Tensor]:
    """Keep k filters of each row: by the scalars, and by hints where these don't decide.

    A scalar that is further than :data:`MARGIN` above the largest one that would go stays, and one
    as far below the smallest one that would stay goes. Filters between these are in order of the
    first hint, those for which it is equal in order of the next, and so on.

    Args:
        v: Scalars, ``Tensor[L, n]``.
        k: How many of each row stay.
        hints: ``Tensor[L, n]``, larger for filters that matter more, the most reliable first.

    Returns:
        1 for filters that stay, else 0, in the shape and type of ``v``; and which filters the hints
        have decided, of the same shape, bool.
    """
    kept = torch.zeros_like(v)
    by_hint = torch.zeros_like(v, dtype=torch.bool)
    for i, row in enumerate(v):
        if k >= len(row):
            kept[i] = 1
            continue
        ordered = row.sort(descending=True).values
        stays = row > ordered[k] + MARGIN
        open_ = ~stays & (row >= ordered[k - 1] - MARGIN)
        free = k - int(stays.sum())
        by_hint[i] = open_ if int(open_.sum()) > free else False
        places = open_.nonzero().flatten()
        for hint in reversed(hints):
            places = places[hint[i][places].argsort(descending=True, stable=True)]
        kept[i] = stays.to(v.dtype)
        kept[i, places[:free]] = 1
    return kept, by_hint
