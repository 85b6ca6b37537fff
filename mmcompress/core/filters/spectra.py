"""How far filters of few parameters are from dense ones, and from the best of their rank."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from mmcompress.core.base.figure import Figure, Series

from .basis_op import BasisConv2d
from .low_rank import relative_error, wide
from .op import FilterOp

#: Singular values of float32 weights below this share of the largest are zeros, rounded.
ROUNDING = 1e-6


def kernels(
    ops: Mapping[str, FilterOp], dense: Mapping[str, Tensor]
) -> dict[str, tuple[Tensor, Tensor | None]]:
    """The kernel that each op stands for, and the dense one that it started from.

    Args:
        ops: By layer. Those that are no convolution of the dense size are left out.
        dense: Weights of the dense network by name; what ops remember counts where a name is
            missing.

    Returns:
        By layer two tensors ``Tensor[n, c / G, kh, kw]``; None where nothing is known.
    """
    found: dict[str, tuple[Tensor, Tensor | None]] = {}
    for layer, op in ops.items():
        try:
            own = op.filters().detach()
        except ValueError:
            continue
        if own.shape != op.dense_shape:
            continue
        start = dense.get(f'{layer}.weight')
        if start is None and op.teacher is not None and bool(op.teacher.any()):
            start = op.teacher
        if start is not None and start.shape != own.shape:
            start = None
        found[layer] = own, start
    return found


@torch.no_grad()
def spectrum(kernel: Tensor, parts: int = 1) -> Tensor:
    """Singular values of the rows that a basis has to span, the largest first, which is 1.

    Args:
        kernel: ``Tensor[n, c, kh, kw]``.
        parts: Into how many groups of channels a filter falls, each of which is a row.

    Returns:
        ``Tensor[min(n parts, c / parts kh kw)]``; zeros for a kernel of zeros.
    """
    values = torch.linalg.svdvals(wide(kernel).reshape(len(kernel) * parts, -1))
    return values / values[0].clamp_min(torch.finfo(values.dtype).tiny)


def least_error(values: Tensor, rank: int) -> float:
    """The relative error of the best approximation of some rank, by the singular values.

    Source: Eckart and Young, 1936.
    """
    squares = values.square()
    return float((squares[rank:].sum() / squares.sum().clamp_min(1e-300)).sqrt())


def spectra_figures(ops: Mapping[str, FilterOp], dense: Mapping[str, Tensor]) -> list[Figure]:
    """Figures of reconstruction errors and singular values.

    Args:
        ops: By layer.
        dense: As for :func:`kernels`.
    """
    figures = []
    # Of a convolution in groups each group has a basis of its own.
    bases = {n: op for n, op in ops.items() if isinstance(op, BasisConv2d) and op.groups == 1}
    ranks = {n: (op.maps // op.basis_groups, op.basis_groups) for n, op in bases.items()}
    found = kernels(ops, dense)
    known = {layer: (own, start) for layer, (own, start) in found.items() if start is not None}
    if known:
        layers = list(known)
        errors = [relative_error([start], [own.to(start)]) for own, start in known.values()]
        series = [Series('of the trained filters', layers, errors)]
        if all(layer in ranks for layer in layers):
            least = [
                least_error(spectrum(start, ranks[layer][1]), ranks[layer][0])
                for layer, (_, start) in known.items()
            ]
            series.insert(
                0, Series('least possible with a basis for this layer alone', layers, least)
            )
        figures.append(
            Figure(
                'reconstruction',
                'Distance from the dense filters',
                'bars',
                "||W - W'|| / ||W||",
                '',
                series,
                'Of the filters after training, from those that it started from. Fine-tuning moves '
                'filters away from these, too.',
            )
        )
    for name, title, index in (('dense', 'dense', 1), ('compact', 'compact', 0)):
        curves = []
        for layer, (_, parts) in ranks.items():
            kernel = found.get(layer, (None, None))[index]
            if kernel is not None:
                values = spectrum(kernel, parts)
                values = values[values > ROUNDING]
                curves.append(Series(layer, list(range(1, len(values) + 1)), values.tolist()))
        if curves:
            figures.append(
                Figure(
                    f'singular-values-{name}',
                    f'Singular values of the {title} filters',
                    'lines',
                    'number',
                    'share of the largest',
                    curves,
                    'A layer whose curve falls early needs few basis filters.'
                    if index
                    else 'A curve ends where the basis has no more filters.',
                    log=True,
                )
            )
    return figures
