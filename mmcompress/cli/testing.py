"""From the arguments of ``test`` to a checkpoint that fits, and its metrics."""

from __future__ import annotations

import argparse
import copy
from pathlib import Path

from mmengine.config import Config
from torch import nn

from mmcompress.core.base.build import build_model, whole_architecture
from mmcompress.core.errors import CompressionError
from mmcompress.core.export.checkpoint import check_fits, load_checkpoint_file
from mmcompress.core.export.static import is_sub_model
from mmcompress.core.filters.algorithm import FilterAlgorithm
from mmcompress.core.filters.unit import RANDOM

from .launch import apply_launch, load_config
from .runner import BuiltModel
from .sr_inference import apply_inference_arguments


def evaluate(args: argparse.Namespace) -> dict[str, float]:
    """Evaluate the checkpoint that the arguments of ``test`` name; returns its metrics.

    Raises:
        CompressionError: If there is nothing to evaluate, or nothing to evaluate on.
    """
    cfg = load_config(args.config, args.compress, args.cfg_options)
    apply_launch(cfg, args.launcher, args.local_rank, args.work_dir)
    apply_inference_arguments(cfg, args)
    if cfg.get('test_dataloader') is None:
        raise CompressionError(f'{args.config} has no test_dataloader to evaluate on')
    built = BuiltModel(cfg)
    cfg.load_from = checkpoint_of(cfg, args.checkpoint, built.model)
    if cfg.load_from:
        check(cfg, built.model)
    return built.runner().test()


def checkpoint_of(cfg: Config, given: str | None, model: nn.Module) -> str | None:
    """The checkpoint given, else the one that the config names, else the work dir's export.

    Args:
        cfg: The config.
        given: By the user, if any.
        model: That of the config.

    Returns:
        ``None`` if none of these is there, and the model has nothing to load.

    Raises:
        CompressionError: If there's none.
    """
    path = given or cfg.get('load_from')
    if path:
        return path
    if not is_sub_model(cfg.model):
        if not model.state_dict():
            return None
        raise CompressionError('no checkpoint was given, and the config names none')
    own = (cfg.model.get('init_cfg') or {}).get('checkpoint')
    places = [Path(cfg.work_dir, *folder, 'compact.pth') for folder in ((), ('export',))]
    path = own or next((str(place) for place in places if place.is_file()), None)
    if path is None:
        raise CompressionError(
            f'no checkpoint was given, and there is no {places[1]} (`mmcompress export` writes it)'
        )
    return path


def check(cfg: Config, model: nn.Module) -> None:
    """Check that the checkpoint fits the model, or the dense network that it starts from.

    Raises:
        CompressionError: If it is another's.
    """
    state = load_checkpoint_file(cfg.load_from)['state_dict']
    own = any(key.removeprefix('module.').startswith('architecture.') for key in state)
    if isinstance(model, FilterAlgorithm) and model.init != RANDOM and not own:
        dense = copy.deepcopy(cfg)
        dense.model = whole_architecture(dense.model)
        model = build_model(dense)
    check_fits(model, state, cfg.load_from)
