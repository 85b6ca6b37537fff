"""Which filters a vector of scalars keeps, and whether it has decided that."""

from __future__ import annotations

from collections.abc import Sequence

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
    as far below the smallest one that would stay goes. Among the filters between, the largest hint
    counts; a row of equal hints is passed over, and the next one counts. Only where all hints are
    equal do the scalars themselves decide, however small their differences.

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
        order = row.sort(descending=True).values
        if k >= len(row):
            kept[i] = 1
            continue
        stays = row > order[k] + MARGIN
        open_ = ~stays & (row >= order[k - 1] - MARGIN)
        free = k - int(stays.sum())
        ranked = row
        score = _first_useful([hint[i] for hint in hints], open_)
        if score is not None and int(open_.sum()) > free:
            ranked, by_hint[i] = score, open_
        best = ranked.masked_fill(~open_, -torch.inf).topk(free).indices
        kept[i] = stays.to(v.dtype)
        kept[i, best] = 1
    return kept, by_hint


def _first_useful(hints: Sequence[Tensor], open_: Tensor) -> Tensor | None:
    """The first hint that tells open filters apart."""
    for hint in hints:
        values = hint[open_]
        if len(values) and bool(values.isfinite().all()) and bool(values.max() > values.min()):
            return hint
    return None
