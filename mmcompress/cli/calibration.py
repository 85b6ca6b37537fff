"""Images to calibrate a network with: the config's own for training, preprocessed as for a test."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
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
        option: What says so, for errors.

    Raises:
        CompressionError: If the count is none, the config has no data for training or test, or
            they can't be loaded.
    """

    def __init__(self, cfg: Config, count: int, option: str = '--calib') -> None:
        if count < 1:
            raise CompressionError(f'{option} is {count}; give 1 or more images')
        loader = dict(
            batch_size=1,
            num_workers=0,
            dataset=calibration_dataset(cfg, option),
            sampler=dict(type='DefaultSampler', shuffle=False),
        )
        dataset: Any = ToolRunner.build_dataloader(loader).dataset
        self.dataset = dataset
        count = min(count, len(dataset))
        self.indices = np.linspace(0, len(dataset) - 1, count).round().astype(int).tolist()

    def batches(self, data_preprocessor: nn.Module, size: int) -> Batches:
        """The images in batches of ``size``, as the data preprocessor makes them for a test.

        Args:
            data_preprocessor: That of the model, on the CPU.
            size: Of a batch; the last one may be smaller.
        """
        parts = [self.indices[i : i + size] for i in range(0, len(self.indices), size)]
        return Batches(self.dataset, parts, data_preprocessor)

    def images(self, data_preprocessor: nn.Module) -> Iterator[np.ndarray]:
        """The images, each ``float32[1, C, H, W]``.

        Args:
            data_preprocessor: That of the model, on the CPU.
        """
        for index in self.indices:
            batch = pseudo_collate([self.dataset[index]])
            yield images_of(data_preprocessor, batch).numpy()


class Batches(Sequence[Any]):
    """Preprocessed batches of a data set, kept in memory while they are small.

    Args:
        dataset: Gives one image for each index.
        parts: The indices of each batch.
        data_preprocessor: Makes a batch what a model takes.
    """

    #: Bytes of images that are kept in memory.
    MOST = 2**29

    def __init__(self, dataset: Any, parts: list[list[int]], data_preprocessor: nn.Module) -> None:
        self.dataset, self.parts, self.data_preprocessor = dataset, parts, data_preprocessor
        self._kept: dict[int, Any] = {}
        self._size = 0

    def __len__(self) -> int:
        return len(self.parts)

    def __getitem__(self, index: Any) -> Any:
        if index in self._kept:
            return self._kept[index]
        batch = pseudo_collate([self.dataset[one] for one in self.parts[index]])
        data = self.data_preprocessor(batch, False)
        inputs = data['inputs'] if isinstance(data, dict) else data
        self._size += getattr(inputs, 'nbytes', self.MOST)
        if self._size <= self.MOST:
            self._kept[index] = data
        return data


def calibration_dataset(cfg: Config, option: str = '--calib') -> dict[str, Any]:
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
                f'{option}: the config has no {phase}_dataloader, whose '
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
