"""Predictions of the dense and the compact network on images of the validation data."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from mmengine.config import Config
from torch import nn

from mmcompress.core.errors import CompressionError
from mmcompress.report.samples import Panel, in_rgb, panel

from .runner import ToolRunner


def load_samples(cfg: Config, count: int) -> tuple[list[tuple[int, Any]], Any]:
    """Batches of one image each, from everywhere in the validation data.

    Args:
        cfg: The config of the data.
        count: How many.

    Returns:
        The number of each image in the data, with its batch; and the names of classes, if any.

    Raises:
        CompressionError: If the data can't be loaded.
    """
    loader_cfg = cfg.get('val_dataloader') or cfg.get('test_dataloader')
    if not loader_cfg:
        raise CompressionError('the config has no val_dataloader')
    loader = ToolRunner.build_dataloader(
        dict(loader_cfg, num_workers=0, persistent_workers=False), seed=0
    )
    dataset: Any = loader.dataset
    length = len(dataset)
    count = min(count, length)
    indices = [round((i + 0.5) * length / count - 0.5) for i in range(count)]
    classes = (getattr(dataset, 'metainfo', None) or {}).get('classes')
    return [(i, loader.collate_fn([dataset[i]])) for i in indices], classes


@torch.no_grad()
def draw_samples(
    batches: Sequence[tuple[int, Any]], networks: dict[str, nn.Module], classes: Any = None
) -> list[dict[str, Any]]:
    """What networks say of images, side by side, behind the ground truth where there is some.

    Args:
        batches: Of :func:`load_samples`.
        networks: By name; they are evaluated.
        classes: Their names.

    Returns:
        For each image ``index`` and ``panels``, a list of
        :class:`~mmcompress.report.samples.Panel`.
    """
    samples = []
    for index, batch in batches:
        panels: list[Panel | None] = []
        for name, model in networks.items():
            given: Any = copy.deepcopy(batch)
            image = in_rgb(given['inputs'][0].float(), getattr(model, 'data_preprocessor', None))
            if not panels:
                truth = copy.deepcopy(given['data_samples'][0])
                panels.append(panel('ground truth', image, truth, classes, truth=True))
            said = model.eval().test_step(given)[0]  # type: ignore[operator]
            panels.append(panel(name, image, said.cpu(), classes))
        shown = [found for found in panels if found is not None]
        if shown:
            samples.append(dict(index=index, panels=shown))
    return samples
