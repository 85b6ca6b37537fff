"""Which static form of filter units is fastest on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from mmcompress.core.filters.algorithm import FilterAlgorithm
from mmcompress.core.filters.mutator import common_forms
from mmcompress.core.filters.op import FilterOp
from mmcompress.core.probe.example import Example, Images

from .latency import compare_latency


def fastest_forms(algorithm: FilterAlgorithm, shape: Images, repeats: int = 10) -> dict[str, str]:
    """For each filter unit, the form whose layers take the least time together.

    Every layer is timed by itself on an input of the size that it sees, its forms in turn.

    Args:
        algorithm: Whose units to export.
        shape: ``(channels, height, width)`` of an image, or inputs.
        repeats: Timed rounds.

    Returns:
        The form of each layer that has several, by its name.

    Raises:
        CompressionError: If the model doesn't run on such an image.
    """
    demo = shape if isinstance(shape, Example) else (1, *shape)
    seen = algorithm.mutator.shapes_seen(algorithm.architecture, demo)
    forms: dict[str, str] = {}
    for unit in algorithm.mutator.units.values():
        ops: dict[str, Any] = {
            layer: algorithm.architecture.get_submodule(layer) for layer in unit.layers
        }
        common = common_forms(ops.values())
        if len(common) == 1:
            continue
        totals = dict.fromkeys(common, 0.0)
        for layer, op in ops.items():
            sizes = [size for size, _ in seen.get(layer, []) if size is not None]
            for size in sizes:
                for form, spent in _times(op, common, size, repeats).items():
                    totals[form] += spent
        forms.update(dict.fromkeys(ops, min(common, key=totals.__getitem__)))
    return forms


def _times(op: FilterOp, forms: Sequence[str], size: torch.Size, repeats: int) -> dict[str, float]:
    """Milliseconds of each form of one layer."""
    models = {form: op.to_static(form).cpu().eval() for form in forms}
    rows = compare_latency(models, torch.randn(size), repeats, warmup=3)
    return {row['name']: row['median_ms'] for row in rows}
