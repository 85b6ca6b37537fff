"""Shared and unique filters, and their coefficients, at random or from dense weights."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from mmcompress.core.errors import CompressionError
from mmcompress.core.filters.low_rank import best_of, leading_rows, wide

#: Shared filters ``Tensor[s, d]``, and for each layer unique ones ``Tensor[u, d]`` and
#: coefficients ``Tensor[n, s + u]``.
Fit = tuple[Tensor, list[Tensor], list[Tensor]]


@torch.no_grad()
def fit_shared_basis(weights: list[Tensor], shared: int, unique: int) -> Fit:
    """Filters for all layers, filters for each, and coefficients: near to the layers' weights.

    With shared filters alone, or unique filters alone, no others are nearer. With both, the
    shared ones start as what the layers' own best filters have in common: exact wherever an exact
    answer exists. Sweeps then make the unique and the shared ones fit each other, none of them
    worse than the one before. The filters that a layer uses come out orthonormal, if its weight
    has that rank.

    Args:
        weights: For each layer ``Tensor[n, c, kh, kw]``; layers may differ in n.
        shared: ``s``, from 0.
        unique: ``u``, from 0.

    Returns:
        The shared filters, ``Tensor[s, c, kh, kw]``; for each layer its unique ones,
        ``Tensor[u, c, kh, kw]``, and its coefficients, ``Tensor[n, s + u]``: the weight is about
        ``coefficients @ [shared; unique]``.

    Raises:
        CompressionError: If shapes of filters differ, or there are no filters or more than a
            filter has weights.

    Source: Kang and Kim, arXiv:2006.05066, for the form; the fit is ours.
    """
    shape = weights[0].shape[1:]
    if any(weight.shape[1:] != shape for weight in weights):
        shapes = ', '.join(str(tuple(weight.shape[1:])) for weight in weights)
        raise CompressionError(f'layers that share filters have filters of one shape, not {shapes}')
    dims = shape.numel()
    if min(shared, unique) < 0 or not 1 <= shared + unique <= dims:
        raise CompressionError(
            f'{shared} shared and {unique} unique filters; filters of {dims} weights need 1 to '
            f'{dims} together'
        )
    rows = [wide(weight.flatten(1)) for weight in weights]

    def error_of(fit: Fit) -> float:
        return sum(
            float((w - c @ torch.cat([fit[0], u])).square().sum())
            for w, u, c in zip(rows, *fit[1:], strict=True)
        )

    basis, own, coefficients = best_of(sweeps(rows, shared, unique), error_of)
    return (
        basis.view(shared, *shape).to(weights[0].dtype),
        [u.view(unique, *shape).to(w.dtype) for u, w in zip(own, weights, strict=True)],
        [c.to(w.dtype) for c, w in zip(coefficients, weights, strict=True)],
    )


def sweeps(rows: list[Tensor], shared: int, unique: int) -> Iterator[Fit]:
    """A first fit, and what each sweep makes of it.

    A sweep improves the shared filters, given what the unique ones give, and then takes the best
    unique ones that there are to go with them. The former is one orthogonal iteration towards the
    best shared filters, a small part of the work of finding them, and none of that is wasted on
    unique filters that are about to change.

    Args:
        rows: For each layer ``Tensor[n, d]``.
        shared: ``s``.
        unique: ``u``.
    """
    if shared and unique:
        best = [leading_rows(w, min(shared + unique, len(w))) for w in rows]
        basis = leading_rows(torch.cat(best), shared)
    else:
        basis = leading_rows(torch.cat(rows), shared)
    while True:
        own, coefficients, rest = [], [], []
        for w in rows:
            left = w @ basis.T
            missed = w - left @ basis
            u = leading_rows(missed, unique)
            right = missed @ u.T
            own.append(u)
            coefficients.append(torch.cat([left, right], 1))
            rest.append(w - right @ u)
        yield basis, own, coefficients
        if not (shared and unique):
            return
        remains = torch.cat(rest)
        basis = torch.linalg.qr(remains.T @ (remains @ basis.T)).Q.T


@torch.no_grad()
def orthogonal_(tensors: list[Tensor]) -> None:
    """Fill tensors so that all their rows together are orthonormal.

    Rows are ``tensor.flatten(1)``. Where there are more of them than they have entries, columns
    are orthonormal instead: nothing comes nearer to orthonormal rows.

    Args:
        tensors: ``Tensor[n, ...]``, with as many entries in a row each.

    Raises:
        ValueError: If rows differ in length.

    Source: Kang and Kim, arXiv:2006.05066, the shared filters; those of ``Double`` together.
    """
    lengths = [tensor[0].numel() for tensor in tensors]
    if len(set(lengths)) > 1:
        raise ValueError(f'rows have {lengths} entries; they have to be of one length')
    sizes = [len(tensor) for tensor in tensors]
    rows = nn.init.orthogonal_(wide(tensors[0]).new_empty(sum(sizes), lengths[0])).split(sizes)
    for tensor, block in zip(tensors, rows, strict=True):
        tensor.copy_(block.view_as(tensor))
