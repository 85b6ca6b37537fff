"""The plan of a compression, in the log, and the command that comes next."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.logging import print_log
from rich.console import Console
from torch import nn

from mmcompress.core.base.algorithm import CompressionAlgorithm
from mmcompress.core.base.build import build_architecture
from mmcompress.core.base.image_shape import image_shape
from mmcompress.core.errors import first_line
from mmcompress.core.export.export import dense_config
from mmcompress.core.probe.example import Example, Images
from mmcompress.report.plan import Plan, plan_of


def stderr_console() -> Console:
    """Standard error; in a file or a pipe, lines of 100 columns."""
    return Console(stderr=True, width=None if sys.stderr.isatty() else 100)


def tell_plan(
    cfg: Config, algorithm: nn.Module, following: str = '', shape: Sequence[int] | None = None
) -> Plan | None:
    """Say in the log what a compression is going to give; nothing of other models.

    Args:
        cfg: The config of the algorithm.
        algorithm: Built, not trained.
        following: The command that comes next.
        shape: Of the image to count with, as for :func:`image_shape`.

    Returns:
        The plan, if everything could be counted.
    """
    if not isinstance(algorithm, CompressionAlgorithm):
        return None
    plan = None
    try:
        dense = build_architecture(dense_config(cfg), cfg.get('data_preprocessor'))
        plan = plan_of(algorithm, dense, counted_with(cfg, algorithm, shape))
        lines = plan.lines(following)
    except Exception as error:  # whatever a user's model raises: the plan is a courtesy
        lines = [f'parameters and MACs were not counted: {first_line(error, type(error).__name__)}']
    for line in lines:
        print_log(f'plan: {line}', logger='current')
    return plan


def counted_with(cfg: Config, model: nn.Module, shape: Sequence[int] | None = None) -> Images:
    """What parameters and MACs are counted with: an image of a size, or the inputs given.

    Args:
        cfg: The config of the model.
        model: An algorithm, or any other model.
        shape: As for :func:`image_shape`.
    """
    demo = model.mutator.demo if isinstance(model, CompressionAlgorithm) else None
    if isinstance(demo, Example) and not shape and cfg.get('flops_shape') is None:
        return demo
    return image_shape(cfg, shape)


def command(verb: str, args: argparse.Namespace, *words: str, **options: Any) -> str:
    """A command on the config of another.

    Args:
        verb: Of the command.
        args: What the other was told.
        *words: Arguments behind the config.
        **options: More of its ``--cfg-options``, by key.
    """
    line = ['mmcompress', verb, str(args.config), *words]
    if args.compress:
        line += ['--compress', args.compress]
    settings = {**(args.cfg_options or {}), **options}
    if settings:
        line += ['--cfg-options', *(f'{key}={_text(value)}' for key, value in settings.items())]
    return shlex.join(line)


def training_by_budget(args: argparse.Namespace) -> str:
    """The training that follows a list of units, or a count."""
    budget = getattr(args, 'budget', None) or {}
    options = {f'model.budget.{key}': value for key, value in budget.items()}
    if options:
        options = {'model.target_pruning_ratio': None, **options}
    return command('train', args, **options)


def export_of(cfg: Config, args: argparse.Namespace) -> str:
    """The export that follows a training."""
    loop = cfg.get('train_cfg') or {}
    unit = 'iter' if 'max_iters' in loop else 'epoch'
    checkpoint = Path(cfg.work_dir, f'{unit}_{loop.get(f"max_{unit}s", "N")}.pth')
    return command('export', args, str(checkpoint))


def _text(value: Any) -> str:
    """A value as ``--cfg-options`` read it."""
    return str(value).replace(' ', '') if isinstance(value, (list, tuple, dict)) else str(value)
