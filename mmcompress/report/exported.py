"""What an exported model takes: parameters stored and at run time, MACs, latency."""

from __future__ import annotations

from functools import partial
from typing import Any

from mmengine.model import BaseModel
from torch import nn

from mmcompress.core.base.algorithm import CompressionAlgorithm
from mmcompress.core.export.onnx import OnImages
from mmcompress.core.probe.demo_inputs import demo_batch
from mmcompress.core.probe.example import Example, Images
from mmcompress.core.probe.probe import seeded

from .latency import compare_latency
from .models import report


def export_report(
    dense: nn.Module,
    algorithm: CompressionAlgorithm,
    static: nn.Module,
    shape: Images,
    repeats: int = 20,
) -> list[dict[str, Any]]:
    """Figures of the dense and the exported model, timed in turn on one image.

    Args:
        dense: The dense model.
        algorithm: What was trained. Layers that share parameters store them once.
        static: What was exported; all models on the CPU.
        shape: ``(channels, height, width)`` of the image, or inputs.
        repeats: Timed rounds.

    Returns:
        Two rows: ``model``, ``stored_params``, ``runtime_params``, ``macs``, ``latency_ms``, and
        ``latency_ratio`` to the dense model.

    Raises:
        CompressionError: If a model doesn't run on such an image.
    """
    models = dict(dense=dense.eval(), exported=static.eval())
    counts = {name: report(name, model, shape) for name, model in models.items()}
    stored = {name: count['params'] for name, count in counts.items()}
    compact = algorithm.counted()
    if compact is not None:
        stored['exported'] = sum(parameter.numel() for parameter in compact.parameters())
    mode = counts['dense']['mode']
    calls: dict[str, Any]
    if isinstance(shape, Example):
        images = shape.images
        given: dict[str, Any] = dict(mode=mode) if isinstance(dense, BaseModel) else {}
        calls = {name: partial(shape.run, model, **given) for name, model in models.items()}
    else:
        with seeded():
            images, samples = demo_batch(dense, (1, *shape), mode)
        calls = {name: OnImages(model, mode, samples) for name, model in models.items()}
    times = compare_latency(calls, images, repeats)
    return [
        dict(
            model=row['name'],
            stored_params=stored[row['name']],
            runtime_params=counts[row['name']]['params'],
            macs=counts[row['name']]['macs'],
            latency_ms=row['median_ms'],
            latency_ratio=row['ratio'],
        )
        for row in times
    ]
