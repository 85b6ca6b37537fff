"""From the config and checkpoint of a finished training to its exported network."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.logging import print_log

from mmcompress.core.checkpoint import load_into
from mmcompress.core.errors import CompressionError
from mmcompress.core.export import export

from .launch import ToolRunner, build_algorithm


def export_checkpoint(
    cfg: Config,
    checkpoint: str | Path,
    out: str | Path,
    batches: int | None = 2,
    overwrite: bool = False,
    fold_bn: bool = False,
    onnx_shape: Sequence[int] | None = None,
) -> dict[str, Any]:
    """Build the algorithm of a config, load its checkpoint and export it.

    Args:
        cfg: The config that was trained.
        checkpoint: What training left.
        out: Folder to write to.
        batches: How many batches of the config's validation data to compare on; ``None`` for all.
        overwrite: See :func:`~mmcompress.core.export.export`, as the two others.
        fold_bn: See there.
        onnx_shape: See there.

    Returns:
        What :func:`~mmcompress.core.export.export` returns.

    Raises:
        CompressionError: See there; and if the checkpoint doesn't belong to the config.
    """
    algorithm = build_algorithm(cfg)
    content = load_into(algorithm, checkpoint)
    algorithm.dataset_meta = content.get('meta', {}).get('dataset_meta')
    data = _validation_batches(cfg, batches)
    return export(algorithm, cfg, out, data, overwrite, fold_bn, onnx_shape)


def _validation_batches(cfg: Config, count: int | None) -> Iterator[Any]:
    """The first batches of the config's validation data, none where there is no data."""
    loader_cfg = cfg.get('val_dataloader') or cfg.get('test_dataloader')
    if (count is not None and count < 1) or not loader_cfg:
        return iter(())
    try:
        loader = ToolRunner.build_dataloader(
            dict(loader_cfg, num_workers=0, persistent_workers=False)
        )
    except CompressionError as error:
        print_log(f'comparing on random images only: {error}', 'current')
        return iter(())
    return itertools.islice(iter(loader), count)
