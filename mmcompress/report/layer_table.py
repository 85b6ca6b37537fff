"""A network layer by layer, before and after: widths, ranks and forms, work and time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor, nn

from mmcompress.core.base.algorithm import CompressionAlgorithm
from mmcompress.core.base.figure import Figure, Series
from mmcompress.core.base.op import Op
from mmcompress.core.layers.narrow import channels_of, is_convolution
from mmcompress.core.layers.partial_add import name_before

from .complexity import macs_of_layers
from .conv_timer import times_within

#: Forms of a layer that has become other layers.
SAME, NARROWER, FACTORED, GONE = 'as it was', 'narrower', 'factored', 'merged into another'


def layers_before_and_after(
    dense: nn.Module,
    static: nn.Module,
    shape: Sequence[int],
    mode: str = 'tensor',
    algorithm: CompressionAlgorithm | None = None,
) -> list[dict[str, Any]]:
    """What has become of each convolution and linear layer.

    Args:
        dense: The dense network.
        static: The exported one.
        shape: ``(C, H, W)`` of an image.
        mode: Of the forward pass.
        algorithm: What was trained, which knows ranks of layers that are one convolution again.

    Returns:
        Rows ``layer``, ``kernel``, ``form``; ``channels``, ``params`` and ``macs``, each before
        and after; ``rank``, the number of filters that all filters of the layer are made of.
    """
    inside = {name_before(static, name): layer for name, layer in static.named_modules()}
    names = {name_before(static, name): name for name, _ in static.named_modules()}
    macs = [macs_of_layers(model, shape, mode=mode)['layers'] for model in (dense, static)]
    ranks = {} if algorithm is None else _ranks(algorithm)
    rows = []
    for name, layer in dense.named_modules():
        if not (is_convolution(layer) or isinstance(layer, nn.Linear)):
            continue
        after = inside.get(name)
        after = None if after is None or isinstance(after, nn.Identity) else after
        before, now = channels_of(layer), None if after is None else _ends(after)
        parts = [] if after is None else _weights(after)
        form = GONE if after is None else FACTORED if len(parts) > 1 else SAME
        if form == SAME and now != before:
            form = NARROWER
        rank = ranks.get(name)
        if rank is None and form == FACTORED:
            rank = len(parts[0])
        rows.append(
            dict(
                layer=name,
                kernel='x'.join(map(str, getattr(layer, 'kernel_size', (1,)))),
                form=form,
                rank=rank,
                channels=[list(before), None if now is None else list(now)],
                params=[sum(w.numel() for w in _weights(layer)), sum(w.numel() for w in parts)],
                macs=[macs[0].get(name, 0), macs[1].get(names.get(name, name), 0)],
            )
        )
    return rows


def _ranks(algorithm: CompressionAlgorithm) -> dict[str, int]:
    return {
        name: op.rank
        for name, op in algorithm.architecture.named_modules()
        if isinstance(op, Op) and op.rank is not None
    }


def _weights(layer: nn.Module) -> list[Tensor]:
    """Weights of convolutions and linear layers, those of one behind the other."""
    return [
        weight
        for part in layer.modules()
        if isinstance(weight := getattr(part, 'weight', None), Tensor) and weight.ndim > 1
    ]


def _ends(layer: nn.Module) -> tuple[int, int]:
    """Channels into the first and out of the last of some layers."""
    parts: list[Any] = [
        part for part in layer.modules() if is_convolution(part) or isinstance(part, nn.Linear)
    ]
    if not parts:
        return channels_of(layer)
    return channels_of(parts[0])[0], channels_of(parts[-1])[1]


def layer_times(
    models: dict[str, nn.Module], names: dict[str, dict[str, str]], images: Any, repeats: int = 30
) -> dict[str, dict[str, float]]:
    """Median milliseconds of layers within the forward pass of each model, models in turn.

    Args:
        models: Functions of the images, by name, on the CPU.
        names: For each of them, modules of it by the names that they have in the answer.
        images: As the models take them.
        repeats: Timed rounds.

    Returns:
        By model and layer; a layer that runs several times has the sum.
    """
    labels = {
        model: {module: layer for layer, module in own.items()} for model, own in names.items()
    }
    return {
        model: {layer: float(np.median(seconds)) * 1e3 for layer, seconds in times.items()}
        for model, times in times_within(models, labels, images, repeats).items()
    }


def add_times(
    rows: list[dict[str, Any]], dense: Any, static: Any, images: Any, repeats: int
) -> None:
    """Put ``ms``, before and after, into the rows of :func:`layers_before_and_after`.

    Args:
        rows: Changed in place.
        dense: The dense network, as :class:`~mmcompress.core.export.onnx.OnImages`.
        static: The exported one, likewise.
        images: A batch.
        repeats: Timed rounds.
    """
    known = {name_before(static.model, name): name for name, _ in static.model.named_modules()}
    names = {row['layer']: f'model.{row["layer"]}' for row in rows}
    left = {name: f'model.{known[name]}' for name in names if name in known}
    times = layer_times(
        dict(dense=dense, static=static), dict(dense=names, static=left), images, repeats
    )
    for row in rows:
        before, after = (times[model].get(row['layer'], 0.0) for model in ('dense', 'static'))
        row['ms'] = [before, after]


def layer_figures(rows: Sequence[dict[str, Any]]) -> list[Figure]:
    """Figures of what differs between the layers before and after.

    Args:
        rows: Of :func:`layers_before_and_after`, with or without times.
    """
    widths = [(row['channels'][0][1], (row['channels'][1] or (0, 0))[1]) for row in rows]
    figures = []
    if any(before != after for before, after in widths):
        figures.append(_bars('widths', 'Widths', 'filters', rows, widths))
    if any(row['rank'] is not None for row in rows):
        made = [row for row in rows if row['rank'] is not None]
        ranks = [(row['channels'][0][1], row['rank']) for row in made]
        note = 'How many filters all filters of a layer are made of; frame: how many the layer has.'
        names = ('filters of the layer', 'filters they are made of')
        figures.append(_bars('ranks', 'Ranks', 'filters', made, ranks, note, names))
    macs = [[count / 1e6 for count in row['macs']] for row in rows]
    if any(before != after for before, after in macs):
        figures.append(_bars('macs', 'Work', 'million MACs', rows, macs))
    if any('ms' in row for row in rows):
        note = 'Frame: dense, filled: compact. Median within the forward pass of one image.'
        times = [row['ms'] for row in rows]
        figures.append(_bars('times', 'Time', 'ms', rows, times, note))
    return figures


def _bars(
    name: str,
    title: str,
    axis: str,
    rows: Any,
    values: Any,
    note: str = 'Frame: dense, filled: compact.',
    names: Sequence[str] = ('dense', 'compact'),
) -> Figure:
    layers = [row['layer'] for row in rows]
    series = [
        Series(kind, layers, list(column))
        for kind, column in zip(names, zip(*values, strict=True), strict=True)
    ]
    return Figure(f'layers-{name}', f'{title} by layer', 'bars', axis, '', series, note)
