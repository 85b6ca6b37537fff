"""A filter basis and its coefficients from dense weights."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from mmcompress.core.errors import CompressionError
from mmcompress.core.filters.low_rank import best_of, leading_rows, wide


@torch.no_grad()
def fit_filter_basis(
    weights: list[Tensor], basis_size: int | None, num_filters: int
) -> tuple[Tensor, list[Tensor]]:
    """The basis of a filter unit that comes nearest to the weights of its layers.

    With a basis size, all sub-filters of all layers are rows of one matrix, whose leading right
    singular vectors are the basis: no other one is nearer. The filters of the basis are
    orthonormal.

    A sliced basis has the channels of the widest layer, and every layer uses the first ones. It
    starts as that of the filters padded by zeros, and alternating least squares make it better.

    Args:
        weights: For each layer ``Tensor[n_l, c_l, kh, kw]``; layers may differ in n and c.
        basis_size: ``s``, which divides every ``c_l``; None for a sliced basis.
        num_filters: ``b``.

    Returns:
        The basis, ``Tensor[b, s, kh, kw]``, and for each layer its coefficients,
        ``Tensor[n_l, g_l * b]`` with ``g_l = c_l / s`` (1 if sliced), as
        :class:`~mmcompress.methods.filter_basis.op.FilterBasisConv2d` takes them.

    Raises:
        CompressionError: If s doesn't divide some ``c_l``, kernels differ, or there are more
            filters than a filter has weights.

    Source: Li et al., ICCV 2019, for the form; the fit is ours.
    """
    kernel = weights[0].shape[2:]
    if any(weight.shape[2:] != kernel for weight in weights):
        sizes = ', '.join('x'.join(map(str, weight.shape[2:])) for weight in weights)
        raise CompressionError(f'layers of one basis have kernels of one size, not {sizes}')
    size = max(weight.shape[1] for weight in weights) if basis_size is None else basis_size
    dims = size * kernel.numel()
    if not 1 <= num_filters <= dims:
        raise CompressionError(
            f'num_filters is {num_filters}; filters of {dims} weights have a basis of 1 to {dims}'
        )
    if basis_size is None:
        rows = [wide(weight.flatten(1)) for weight in weights]
        basis, coefficients = _fit_slices(rows, num_filters)
    else:
        for weight in weights:
            if weight.shape[1] % size:
                raise CompressionError(
                    f'basis_size is {size}; it has to divide the {weight.shape[1]} channels of '
                    'every layer'
                )
        rows = [wide(weight.reshape(-1, dims)) for weight in weights]
        basis = leading_rows(torch.cat(rows), num_filters)
        coefficients = [row @ basis.T for row in rows]
    return (
        basis.view(num_filters, size, *kernel).to(weights[0].dtype),
        [c.view(len(w), -1).to(w.dtype) for c, w in zip(coefficients, weights, strict=True)],
    )


def _fit_slices(rows: list[Tensor], count: int) -> tuple[Tensor, list[Tensor]]:
    """The best sliced basis that a few sweeps find.

    Args:
        rows: For each layer ``Tensor[n_l, d_l]``.
        count: Rows of the basis.

    Returns:
        ``Tensor[count, max d_l]``, and for each layer ``Tensor[n_l, count]``.
    """

    def error_of(fit: tuple[Tensor, list[Tensor]]) -> float:
        basis, coefficients = fit
        pairs = zip(rows, coefficients, strict=True)
        return sum(float((w - c @ basis[:, : w.shape[1]]).square().sum()) for w, c in pairs)

    return best_of(sweeps(rows, count), error_of)


def sweeps(rows: list[Tensor], count: int) -> Iterator[tuple[Tensor, list[Tensor]]]:
    """The basis of the rows padded by zeros, and what each sweep makes of it.

    A sweep finds the best basis for given coefficients and then the best coefficients for this
    basis, so that no sweep is worse than the one before.
    """
    widths = sorted({row.shape[1] for row in rows})
    basis = leading_rows(
        torch.cat([F.pad(row, (0, widths[-1] - row.shape[1])) for row in rows]),
        count,
    )
    while True:
        coefficients = [w @ torch.linalg.pinv(basis[:, : w.shape[1]]) for w in rows]
        yield basis, coefficients
        columns = []
        for start, end in zip([0, *widths], widths, strict=False):
            # The layers that see these columns of the basis are those that are wide enough.
            seen = [(c, w) for c, w in zip(coefficients, rows, strict=True) if w.shape[1] >= end]
            inverse = torch.linalg.pinv(torch.cat([c for c, _ in seen]))
            columns.append(inverse @ torch.cat([w[:, start:end] for _, w in seen]))
        basis = torch.cat(columns, 1)
