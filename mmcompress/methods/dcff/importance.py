"""Fusion proxies, filter importance and the choice of filters in DCFF.

Lin et al., arXiv:2107.06916.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

#: Added to the second argument of the logarithm, as the authors do.
EPS = 1e-7


def temperature(
    step: float, total: float, start: float = 1.0, end: float = 1e4, kappa: float = 1.0
) -> float:
    """Temperature ``T(e)`` of the proxies (Eq. 10).

    ``T(e) = A / (1 + exp(-kappa e)) + T_s - A/2`` with
    ``A = 2 (T_e - T_s) (1 + exp(-kappa E)) / (1 - exp(-kappa E))``, which is the same as
    ``T_s + (T_e - T_s) tanh(kappa e / 2) / tanh(kappa E / 2)`` and can't overflow so.

    With the published values the rise is a jump: ``T(0) = 1``, ``T(1) = 4622``, ``T(2) = 7616``,
    ``T(10) = 9999``, for any ``E`` of ten and more. Filters are about 2 apart in a network at its
    start, and at ``T = 4622`` proxies are one-hot from a distance of 0.16 on: from the second fuse
    step on a layer takes its chosen filters as they are.

    Args:
        step: ``e``, epochs or fuse intervals since the start.
        total: ``E``, in the same unit, positive.
        start: ``T_s``.
        end: ``T_e``.
        kappa: Steepness.

    Returns:
        ``T(e)``, with ``T(0) = T_s`` and ``T(E) = T_e``.
    """
    return start + (end - start) * math.tanh(kappa * step / 2) / math.tanh(kappa * total / 2)


def log_proxies(weight: Tensor, temp: float) -> Tensor:
    """Logarithm of the softmax proxies of every filter (Eq. 4).

    ``P[j, k]`` falls with the distance between filters j and k: softmax of ``-D[j] T``.

    Computed in float64 where the device has it: the importance is a small difference of
    large sums.

    Args:
        weight: ``Tensor[n, ...]``, one filter a row.
        temp: ``T`` (the softmax is divided by ``t = 1/T``).

    Returns:
        ``Tensor[n, n]``; ``exp`` of it sums to 1 along the rows. Finite at every temperature.
    """
    rows = weight.flatten(1)
    rows = rows.float() if rows.device.type == 'mps' else rows.double()
    distance = _distances(rows)
    return torch.log_softmax(-distance * temp, dim=1)


def _distances(rows: Tensor) -> Tensor:
    """Euclidean distances ``Tensor[n, n]`` between rows, as one matrix product.

    That form loses all digits of a distance that is small against the length of the rows,
    which is just where a temperature of 1e4 looks: such rows are computed literally.
    """
    gram = rows @ rows.T
    lengths = gram.diagonal()
    scale = lengths[:, None] + lengths[None, :]
    squared = (scale - 2 * gram).fill_diagonal_(torch.inf)
    close = (squared < 1e-6 * scale).any(dim=1).nonzero().flatten().tolist()
    distance = squared.clamp_(min=0).sqrt_().fill_diagonal_(0)
    for j in close:
        distance[j] = distance[:, j] = (rows - rows[j]).norm(dim=1)
    return distance


def importance(log_p: Tensor) -> Tensor:
    """Importance of every filter: how far its proxy is from all others (Eq. 7).

    ``I[j] = sum_k KL(P[j] || P[k])``, in closed form: O(n^2) time and memory. Terms with
    ``P[j, i] = 0`` count as 0.

    Args:
        log_p: ``Tensor[n, n]`` from :func:`log_proxies`.

    Returns:
        ``Tensor[n]``.
    """
    return scores(log_p)[0]


def scores(log_p: Tensor) -> tuple[Tensor, Tensor]:
    """Importance of every filter, and by how much rounding alone may set two of them apart.

    The importance is a difference of two sums of n terms each, none of which changes sign: n
    roundings, each of one part in ``eps`` of what is summed. Proxies that are one-hot give all
    filters the same importance; what is left between them is below that bound.

    Args:
        log_p: ``Tensor[n, n]`` from :func:`log_proxies`.

    Returns:
        ``Tensor[n]`` and a scalar tensor, both in the type of ``log_p``.
    """
    n = len(log_p)
    p = log_p.exp()
    entropy = n * torch.where(p > 0, p * log_p, 0.0).sum(dim=1)
    cross = p @ (p + EPS).log().sum(dim=0)
    scale = (entropy.abs() + cross.abs()).max()
    return entropy - cross, n * torch.finfo(log_p.dtype).eps * scale


def choose(score: Tensor, tolerance: Tensor, keep: int, before: Tensor, rows: Tensor) -> Tensor:
    """The ``keep`` filters of the largest scores.

    Scores that differ by no more than ``tolerance`` from the last that is kept tie with it. Of
    these, filters that are kept already stay. Where that does not decide, the order of the
    weights themselves does (by the first that differs), never the place of a filter in its layer:
    the same filters in another order, on another device or with another version of torch give the
    same choice. Scores that are not finite, of training that diverges, say nothing: all tie.

    Args:
        score: ``Tensor[n]``.
        tolerance: Scalar tensor, what rounding may do to two scores.
        keep: Compact width, at most n.
        before: ``BoolTensor[n]``, the last choice; all False if there is none.
        rows: ``Tensor[n, d]``, the filters.

    Returns:
        ``BoolTensor[n]`` with ``keep`` times True.
    """
    finite = score.isfinite().all()
    score, tolerance = (torch.where(finite, tensor, 0.0) for tensor in (score, tolerance))
    cut = score.topk(keep).values[-1]
    tied = (score - cut).abs() <= tolerance
    # 0 for filters above the cut, 1 and 2 for those that tie at it, 3 below.
    place = torch.where(tied, torch.where(before, 1, 2), torch.where(score > cut, 0, 3))
    if keep not in place.bincount(minlength=4).cumsum(0).tolist():
        place = place * len(place) + _order(rows)
    chosen = torch.zeros_like(before)
    chosen[place.argsort(stable=True)[:keep]] = True
    return chosen


def _order(rows: Tensor) -> Tensor:
    """Rank of every row in lexicographic order, ``LongTensor[n]``; equal rows share one."""
    # On the CPU and in float64, which holds all types of weights: only numbers are compared.
    return torch.unique(rows.cpu().double(), dim=0, return_inverse=True)[1].to(rows.device)


class Proxies(NamedTuple):
    """Proxies of the filters that were chosen.

    Attributes:
        rows: ``Tensor[m, n]``, in the order of the filters they stand for.
        score: ``Tensor[n]``, the importance of every filter.
        chosen: ``BoolTensor[n]``, which filters they are.
        separates: Scalar tensor, whether scores set any two filters apart.
    """

    rows: Tensor
    score: Tensor
    chosen: Tensor
    separates: Tensor


def proxies(weight: Tensor, temp: float, keep: int, before: Tensor | None = None) -> Proxies:
    """Proxies of the most important filters, and the importance of all.

    Args:
        weight: ``Tensor[n, ...]``, one filter a row.
        temp: Temperature ``T``.
        keep: Compact width ``m <= n``.
        before: ``BoolTensor[n]``, the filters that were chosen last, which stay where scores do
            not tell filters apart.

    Returns:
        Rows and scores in the type of ``weight``.
    """
    log_p = log_proxies(weight, temp)
    score, tolerance = scores(log_p)
    if before is None:
        before = torch.zeros_like(score, dtype=torch.bool)
    chosen = choose(score, tolerance, keep, before, weight.flatten(1))
    separates = score.max() - score.min() > tolerance
    return Proxies(log_p[chosen].exp().to(weight), score.to(weight), chosen, separates)
