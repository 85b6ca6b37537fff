"""Fusion proxies and filter importance of DCFF (Lin et al., arXiv:2107.06916)."""

from __future__ import annotations

import math

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
    p = log_p.exp()
    entropy = torch.where(p > 0, p * log_p, 0.0).sum(dim=1)
    cross = p @ (p + EPS).log().sum(dim=0)
    return len(p) * entropy - cross


def proxies(weight: Tensor, temp: float, keep: int) -> tuple[Tensor, Tensor]:
    """Proxies of the most important filters, and the importance of all.

    Args:
        weight: ``Tensor[n, ...]``, one filter a row.
        temp: Temperature ``T``.
        keep: Compact width ``m <= n``.

    Returns:
        ``Tensor[m, n]`` (rows in the order of the filters they stand for) and ``Tensor[n]``,
        both in the type of ``weight``.
    """
    log_p = log_proxies(weight, temp)
    score = importance(log_p)
    chosen = score.topk(keep).indices.sort().values
    return log_p[chosen].exp().to(weight), score.to(weight)
