"""Each narrowed convolution by itself: dense, plainly narrower, and the authors' way."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from .conv_timer import conv_macs
from .latency import compare_latency
from .squeeze_expand import SqueezeExpand

Shape = tuple[int, ...]


def kinds_of_layers(
    dense: nn.Module, narrowed: dict[str, nn.Module], shapes: dict[str, Shape]
) -> list[list[str]]:
    """Names of layers, those that do the same work together.

    Args:
        dense: The dense model.
        narrowed: Narrower convolutions by the names of those that they replace.
        shapes: Shape of the input of each in the dense model; the others don't run.
    """
    kinds: dict[tuple[str, str, Shape], list[str]] = {}
    for name, conv in narrowed.items():
        if name in shapes:
            key = (str(dense.get_submodule(name)), str(conv), shapes[name])
            kinds.setdefault(key, []).append(name)
    return list(kinds.values())


def compare_layer(
    dense: Any,
    compact: nn.Module,
    shape: Shape,
    repeats: int = 30,
    threads: int | None = None,
) -> dict[str, Any]:
    """Time one convolution at the size that its input really has.

    Args:
        dense: The dense convolution.
        compact: The narrower one.
        shape: ``(N, C, H, W)`` of the dense one's input.
        repeats: Timed rounds; the layers run in turn.
        threads: CPU threads; None leaves them alone.

    Returns:
        A row with the columns of the published table (``flops_down``, ``time_down`` of the plain
        narrower convolution, ``squeeze_expand_time_down``, all in percent), ``quotient`` and
        ``squeeze_expand_quotient`` (time down / FLOPs down), median times and their interquartile
        ranges, and the shares of ``squeeze``, ``conv`` and ``expand`` in percent.
    """
    way = SqueezeExpand(compact, dense.in_channels, dense.out_channels).eval()
    x = torch.randn(shape)
    with torch.no_grad():
        squeezed = way.squeeze(x)
        narrow = compact(squeezed)
        wide = dense(x)
    calls = dict(
        dense=lambda: dense(x),
        conv=lambda: compact(squeezed),
        squeeze_expand=lambda: way(x),
        squeeze=lambda: way.squeeze(x),
        expand=lambda: way.expand(narrow),
    )
    rows = {row['name']: row for row in compare_latency(calls, (), repeats, threads=threads)}
    flops_down = 100 * (1 - conv_macs(compact, squeezed, narrow) / conv_macs(dense, x, wide))
    plain, other = (100 * (1 - rows[key]['ratio']) for key in ('conv', 'squeeze_expand'))
    whole = sum(rows[part]['median_ms'] for part in ('squeeze', 'conv', 'expand'))
    return dict(
        input='x'.join(map(str, shape[1:])),
        channels=f'{dense.in_channels}-{dense.out_channels}',
        kept=f'{compact.in_channels}-{compact.out_channels}',
        flops_down=flops_down,
        time_down=plain,
        squeeze_expand_time_down=other,
        quotient=quotient(plain, flops_down),
        squeeze_expand_quotient=quotient(other, flops_down),
        **{
            f'{label}_{key}': rows[name][key]
            for label, name in (
                ('dense', 'dense'),
                ('compact', 'conv'),
                ('squeeze_expand', 'squeeze_expand'),
            )
            for key in ('median_ms', 'iqr_ms')
        },
        **{
            f'{part}_share': 100 * rows[part]['median_ms'] / whole
            for part in ('squeeze', 'conv', 'expand')
        },
    )


def quotient(time_down: float, flops_down: float) -> float | None:
    """Time reduction / FLOPs reduction; None where there are no fewer FLOPs."""
    return time_down / flops_down if flops_down > 0 else None
