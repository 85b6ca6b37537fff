"""What a report shows of LinearConv: correlations of primary filters, and sparse combinations."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from mmcompress.core.base.figure import Figure, Series

from .op import LinearConv2d

BINS = 20


@torch.no_grad()
def correlations(op: LinearConv2d) -> Tensor:
    """``|corr|`` of each pair of primary filters that are combined, ``Tensor[pairs]``.

    Filters without variance correlate with nothing.
    """
    rows = op.primary.detach().double().reshape(op.sets, op.num_primary, -1)
    centred = rows - rows.mean(-1, keepdim=True)
    lengths = centred.norm(dim=-1, keepdim=True)
    unit = centred / lengths.where(lengths > 0, 1)
    matrix = (unit @ unit.mT).abs()
    upper = torch.ones_like(matrix[0], dtype=torch.bool).triu(1)
    return matrix[:, upper].flatten().clamp(max=1)


def figures(ops: Mapping[str, LinearConv2d]) -> list[Figure]:
    """Figures of the layers, by name."""
    pairs = {name: correlations(op) for name, op in ops.items()}
    pairs = {name: values for name, values in pairs.items() if len(values)}
    found = []
    if pairs:
        counts = torch.cat(list(pairs.values())).histc(BINS, 0, 1)
        edges = torch.linspace(0, 1, BINS + 1).tolist()
        found.append(
            Figure(
                'correlations',
                'Correlations of primary filters',
                'steps',
                '|correlation|',
                'pairs of filters',
                [Series('pairs', edges, counts.int().tolist())],
                'Of all pairs that are combined. Filters that correlate span less than they could.',
            )
        )
        means = [float(values.mean()) for values in pairs.values()]
        found.append(
            Figure(
                'correlations-layers',
                'Correlations by layer',
                'bars',
                'mean |correlation|',
                '',
                [Series('mean', list(pairs), means)],
                'Of the primary filters of a layer.',
            )
        )
    sparse = {name: op for name, op in ops.items() if op.is_sparse}
    if sparse:
        found.append(
            Figure(
                'sparsity',
                'Sparsity of combinations',
                'bars',
                'share of entries that are zero',
                '',
                [Series('sparsity', list(sparse), [float(op.sparsity) for op in sparse.values()])],
                'Entries that are masked need no number in the file.',
            )
        )
    return found
