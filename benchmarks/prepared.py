"""Exports made ready for converters of other programs: the network in three forms, real images."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from conversions import EXPECTED, EXPORTED, IMAGES, ONNX, RAW, TRACED
from mmengine.config import Config
from mmengine.model import BaseModel
from torch import Tensor
from without_gather import trace

from mmcompress.cli.launch import build_algorithm, load_config
from mmcompress.cli.runner import ToolRunner
from mmcompress.core.base.build import build_model, init_scope
from mmcompress.core.export.checkpoint import load_into
from mmcompress.core.export.export import export
from mmcompress.core.export.onnx import OnImages, export_onnx
from mmcompress.core.probe.probe import seeded

#: Batches of training images that give an untrained network the statistics of its norms.
WARM_UP = 4


def untrained(config: str | Path, out: Path) -> Path:
    """Export the network of a compression config as it is before training.

    Its weights are random, from a seed; its norms have seen real images, so that no value
    overflows or vanishes on the way through the layers.

    Args:
        config: With one stage.
        out: Folder for the export; what was there is replaced.

    Returns:
        The folder.
    """
    cfg = load_config(str(config))
    with seeded():
        algorithm = build_algorithm(cfg)
        algorithm.init_weights()
        with torch.no_grad():
            for data in _data(cfg, 'train_dataloader', WARM_UP, 8):
                _run(algorithm.architecture.train(), _batch(algorithm, data))
        algorithm.eval()
        export(algorithm, cfg, out, overwrite=True)
    return out


def prepare(folder: Path, count: int = 2) -> dict[str, Any]:
    """Write beside an export what :mod:`conversions` reads.

    Args:
        folder: Of an export: ``compact.py`` with its weights.
        count: How many images to compare on.

    Returns:
        ``outputs``, which the network gives: ``'tensor'`` or ``'features'``, as in
        :func:`~mmcompress.core.export.onnx.export_onnx`; and ``shape`` of the images.

    Raises:
        CompressionError: If there is no export, or its data has no image.
    """
    cfg = load_config(str(folder / 'compact.py'))
    init_scope(cfg)
    model = build_model(cfg).eval()
    load_into(model, folder / 'compact.pth')
    images: list[Tensor] = []
    raw: list[np.ndarray] = []
    for data in _data(cfg, 'test_dataloader', 50, 1):
        batch = _batch(model, data)
        if not images or batch.shape == images[0].shape:
            images.append(batch)
            raw.append(data['inputs'][0].permute(1, 2, 0).numpy())
        if len(images) == count:
            break
    shape = tuple(images[0].shape[1:])
    found = export_onnx(model, folder / ONNX, shape)
    network = OnImages(model, found['outputs']).eval()
    with torch.no_grad():
        expected = {
            f'{number}_{index}': output.numpy()
            for number, image in enumerate(images)
            for index, output in enumerate(network(image))
        }
        trace(network, images[0]).save(folder / TRACED)
        torch.export.save(torch.export.export(network, (images[0],)), folder / EXPORTED)
    np.save(folder / IMAGES, torch.cat(images).numpy())
    np.save(folder / RAW, np.stack(raw))
    np.savez(folder / EXPECTED, **expected)
    return dict(outputs=found['outputs'], shape=list(shape))


def _data(cfg: Config, name: str, count: int, batch_size: int) -> Iterator[Any]:
    loader = ToolRunner.build_dataloader(
        dict(cfg[name], batch_size=batch_size, num_workers=0, persistent_workers=False)
    )
    for number, data in enumerate(loader):
        if number == count:
            return
        yield data


def _batch(model: BaseModel, data: Any) -> Tensor:
    return model.data_preprocessor(data, False)['inputs']


def _run(model: BaseModel, images: Tensor) -> None:
    """A forward pass of the whole model, or of backbone and neck where a head needs boxes."""
    try:
        OnImages(model)(images)
    except (TypeError, AttributeError, AssertionError):
        OnImages(model, 'features')(images)
