"""Images to calibrate a network with: the config's own for training, preprocessed as for a test."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from torch import nn

from mmcompress.core.errors import CompressionError
from mmcompress.core.export.export import images_of
from mmcompress.core.export.onnx_readme import test_pipeline

from .runner import ToolRunner


class Calibration:
    """Training images of a config, spread evenly over its data set, so the same in each run.

    Args:
        cfg: The config.
        count: How many; all, if there are fewer.

    Raises:
        CompressionError: If the count is none, the config has no data for training or test, or
            they can't be loaded.
    """

    def __init__(self, cfg: Config, count: int) -> None:
        if count < 1:
            raise CompressionError(f'--calib is {count}; give 1 or more images')
        loader = dict(
            batch_size=1,
            num_workers=0,
            dataset=calibration_dataset(cfg),
            sampler=dict(type='DefaultSampler', shuffle=False),
        )
        dataset: Any = ToolRunner.build_dataloader(loader).dataset
        self.dataset = dataset
        count = min(count, len(dataset))
        self.indices = np.linspace(0, len(dataset) - 1, count).round().astype(int).tolist()

    def images(self, data_preprocessor: nn.Module) -> Iterator[np.ndarray]:
        """The images, each ``float32[1, C, H, W]``.

        Args:
            data_preprocessor: That of the model, on the CPU.
        """
        for index in self.indices:
            batch = pseudo_collate([self.dataset[index]])
            yield images_of(data_preprocessor, batch).numpy()


def calibration_dataset(cfg: Config) -> dict[str, Any]:
    """The config of the data set for training with the pipeline of the test.

    Wrappers that mix several images into one are left out.

    Raises:
        CompressionError: If the config lacks one of the two.
    """
    for phase in ('train', 'test'):
        loader = cfg.get(f'{phase}_dataloader') or {}
        if phase == 'test' and not loader:
            loader = cfg.get('val_dataloader') or {}
        if not loader.get('dataset'):
            raise CompressionError(
                f'--int8: the config has no {phase}_dataloader, whose '
                f'{"images" if phase == "train" else "pipeline"} the calibration takes'
            )
    dataset = copy.deepcopy(cfg.train_dataloader['dataset'])
    return _with_pipeline(dataset, copy.deepcopy(test_pipeline(cfg)))


def _with_pipeline(dataset: Any, pipeline: Any) -> Any:
    inner = dataset.get('dataset')
    if isinstance(inner, dict):
        inner = _with_pipeline(inner, pipeline)
        return inner if dataset.get('pipeline') is not None else dict(dataset, dataset=inner)
    several = dataset.get('datasets')
    if isinstance(several, (list, tuple)):
        dataset = dict(dataset, datasets=[_with_pipeline(one, pipeline) for one in several])
        dataset.pop('pipeline', None)
        return dataset
    if pipeline is None:
        return dataset
    return dict(dataset, pipeline=pipeline)
