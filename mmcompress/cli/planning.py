"""The plan of a compression, in the log."""

from __future__ import annotations

from mmengine.config import Config
from mmengine.logging import print_log
from torch import nn

from mmcompress.core.base.algorithm import CompressionAlgorithm
from mmcompress.core.base.build import build_architecture
from mmcompress.core.base.image_shape import image_shape
from mmcompress.core.errors import first_line
from mmcompress.core.export.export import dense_config
from mmcompress.report.plan import plan_of


def tell_plan(cfg: Config, algorithm: nn.Module) -> None:
    """Say in the log what a compression is going to give; nothing of other models.

    Args:
        cfg: The config of the algorithm.
        algorithm: Built, not trained.
    """
    if not isinstance(algorithm, CompressionAlgorithm):
        return
    try:
        dense = build_architecture(dense_config(cfg), cfg.get('data_preprocessor'))
        lines = plan_of(algorithm, dense, image_shape(cfg, None)).lines()
    except Exception as error:  # whatever a user's model raises: the plan is a courtesy
        lines = [f'parameters and MACs were not counted: {first_line(error, type(error).__name__)}']
    for line in lines:
        print_log(f'plan: {line}', logger='current')
