"""What a report shows of DCFF: how sharp proxies are, and how important filters."""

from __future__ import annotations

from collections.abc import Mapping

from mmcompress.core.base.figure import Figure, Series

from .op import FusedConv2d


def sharpness(op: FusedConv2d) -> float | None:
    """Mean over fused filters of the largest share that one trained filter has in them.

    1 where each is one filter as it is; 1/n where it is the mean of n. None where nothing is mixed.
    """
    rows = [
        op.proxies[rows, columns].amax(1)
        for mixed, (rows, columns) in zip(op.mixes, op.blocks(), strict=True)
        if mixed
    ]
    return float(sum(r.sum() for r in rows) / sum(len(r) for r in rows)) if rows else None


def figures(ops: Mapping[str, FusedConv2d]) -> list[Figure]:
    """Figures of the fused convolutions, by name of the layer."""
    sharp = {name: value for name, op in ops.items() if (value := sharpness(op)) is not None}
    found = []
    if sharp:
        found.append(
            Figure(
                'sharpness',
                'Sharpness of proxies',
                'bars',
                'share of the strongest filter',
                '',
                [Series('sharpness', list(sharp), list(sharp.values()))],
                'The mean share that one trained filter has in a fused one: at 1 each fused filter '
                'is one trained filter as it is.',
            )
        )
    curves = []
    for name, op in ops.items():
        scores = op.importance.detach().sort(descending=True).values
        if name in sharp and scores[0] > 0:
            share = [(i + 1) / len(scores) for i in range(len(scores))]
            curves.append(Series(name, share, (scores / scores[0]).tolist()))
    if curves:
        found.append(
            Figure(
                'importance',
                'Importance of filters',
                'lines',
                'share of the filters of a layer, the most important first',
                'share of the largest',
                curves,
                'The scores of the last fuse step that told filters apart. A flat curve says that '
                'it hardly matters which filters stay.',
            )
        )
    return found
