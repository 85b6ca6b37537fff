"""Widths that a budget of time has found: they stay with a training and its checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict
from torch import nn

from mmcompress.core.base.algorithm import CompressionAlgorithm
from mmcompress.core.base.budget import FOUND, KEY
from mmcompress.core.export.checkpoint import load_checkpoint_file


def use_found(cfg: Config, checkpoint: str | Path | None) -> None:
    """Let a config build the widths that a checkpoint was trained with, in place.

    Without a checkpoint of a budget of time, or such a budget, nothing happens.

    Args:
        cfg: The config of a training.
        checkpoint: What its model will load.
    """
    budget = _budget(cfg)
    if budget is None or budget.get('found') or checkpoint is None:
        return
    if not Path(checkpoint).is_file():
        return  # whoever loads it says so
    found = load_checkpoint_file(checkpoint).get('meta', {}).get(FOUND)
    if isinstance(found, dict):
        budget['found'] = ConfigDict(found)


def keep_found(cfg: Config, model: nn.Module) -> None:
    """Write into a config what its budget of time has found, in place."""
    budget = _budget(cfg)
    if budget is not None and isinstance(model, CompressionAlgorithm) and model.mutator.found:
        budget['found'] = ConfigDict(model.mutator.found)


def _budget(cfg: Config) -> Any:
    budget = cfg.model.get(KEY)
    return budget if isinstance(budget, dict) and budget.get('latency') is not None else None
