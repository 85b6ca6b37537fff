"""The best basis of a given length for the rows of a matrix, and its error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, TypeVar

import torch
from torch import Tensor


def wide(x: Tensor) -> Tensor:
    """The tensor in float64, or in float32 on devices that lack float64."""
    return x.detach().float() if x.device.type == 'mps' else x.detach().double()


#: Largest number of sweeps of an iterative fit.
SWEEPS = 10
#: Stop when a sweep reduces the squared error by less than this fraction.
LEAST_GAIN = 1e-3

Fit = TypeVar('Fit')


def best_of(fits: Iterator[Fit], error_of: Callable[[Fit], float]) -> Fit:
    """The best fit of a sequence. Stops when a sweep gains less than :data:`LEAST_GAIN`.

    Args:
        fits: The first fit, and the fit after each sweep.
        error_of: Squared error of a fit.
    """
    best: Any = None
    least = float('inf')
    for fit in islice(fits, 1 + SWEEPS):
        error = error_of(fit)
        gain = 1 - error / least if least else 0
        if error < least:
            best, least = fit, error
        if gain < LEAST_GAIN:
            break
    return best


@torch.no_grad()
def leading_rows(matrix: Tensor, rank: int) -> Tensor:
    """The leading right singular vectors of a matrix: an orthonormal basis for its rows.

    No other ``rank`` rows come as near to ``matrix`` by their combinations. Where it has fewer
    independent rows, any orthonormal ones make up the rest. The largest entry of each row is
    positive.

    Taken from the eigenvectors of the smaller one of ``M M^T`` and ``M^T M``, in float64 where the
    device has it. The singular values that this leaves in doubt are those below 1e-8 of the
    largest one: less than the rounding of the float32 weights that this is for.

    Args:
        matrix: ``Tensor[m, d]``.
        rank: From 0 to d.

    Returns:
        ``Tensor[rank, d]``, with the largest singular value first, in the type of ``matrix``.

    Raises:
        ValueError: If ``rank`` is negative or above d.

    Source: Eckart and Young, 1936.
    """
    rows, dims = matrix.shape
    if not 0 <= rank <= dims:
        raise ValueError(f'rank is {rank}; in {dims} dimensions it has to be from 0 to {dims}')
    x = wide(matrix)
    # Squares neither overflow nor vanish.
    x = x / x.abs().max().clamp_min(torch.finfo(x.dtype).tiny) if x.numel() else x
    if dims <= rows:
        basis = _leading_eigenvectors(x.T @ x, rank).T
    else:
        combined = _leading_eigenvectors(x @ x.T, min(rank, rows)).T @ x
        # Householder's QR gives orthonormal rows even where these vanish or are missing.
        missing = combined.new_zeros(rank - len(combined), dims)
        basis = torch.linalg.qr(torch.cat([combined, missing]).T).Q.T
    largest = basis.gather(1, basis.abs().argmax(1, keepdim=True)) if rank else basis[:, :1]
    return torch.where(largest < 0, -basis, basis).to(matrix.dtype).contiguous()


@torch.no_grad()
def relative_error(weights: list[Tensor], fitted: list[Tensor]) -> float:
    """``sqrt(sum ||W - W'||^2 / sum ||W||^2)``, over all layers of a unit.

    Args:
        weights: W of each layer, tensors of any shape.
        fitted: W' of each layer, in the same shapes.

    Returns:
        A number; where all W are zero, 0 if all W' are too, otherwise infinity.
    """
    pairs = list(zip(weights, fitted, strict=True))
    missed = sum(float((wide(a) - wide(b)).square().sum()) for a, b in pairs)
    total = sum(float(wide(a).square().sum()) for a, _ in pairs)
    if not total:
        return float('inf') if missed else 0.0
    return (missed / total) ** 0.5


def _leading_eigenvectors(gram: Tensor, count: int) -> Tensor:
    """``Tensor[n, count]``, with the largest eigenvalue first."""
    vectors = torch.linalg.eigh(gram).eigenvectors
    return vectors[:, len(gram) - count :].flip(1)
