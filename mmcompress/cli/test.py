"""Evaluate a checkpoint: of a dense model, an algorithm in training, or an exported model.

Example:
    python tools/test.py configs/demo/dcff_resnet20_digits.py work_dirs/x/epoch_15.pth
    python tools/test.py work_dirs/x/export/compact.py work_dirs/x/export/compact.pth
    python tools/test.py configs/demo/bicubic_x2_photos.py  # nothing is learned: no checkpoint
    python tools/test.py CONFIG CHECKPOINT --chop 64 --self-ensemble  # super-resolution

Given a method that makes bases of dense weights, and the checkpoint of the dense network, it
evaluates what training would start from.
"""

from __future__ import annotations

import argparse
import copy
import json
from pathlib import Path

import mmcompress  # noqa: F401

# isort: split
from mmengine.config import Config

from mmcompress.cli.launch import (
    ToolRunner,
    add_config_arguments,
    add_launch_arguments,
    apply_launch_arguments,
    load_config,
    run,
)
from mmcompress.cli.sr_inference import add_inference_arguments, apply_inference_arguments
from mmcompress.core.base.build import build_model
from mmcompress.core.errors import CompressionError
from mmcompress.core.export.checkpoint import check_fits, load_checkpoint_file
from mmcompress.core.export.static import is_sub_model
from mmcompress.core.filters.algorithm import FilterAlgorithm
from mmcompress.core.filters.unit import RANDOM


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Evaluate a checkpoint')
    add_config_arguments(parser)
    parser.add_argument(
        'checkpoint', nargs='?', help='may be left out for an exported model, whose work dir has it'
    )
    add_launch_arguments(parser)
    add_inference_arguments(parser)
    parser.add_argument('--json', metavar='FILE', help='write the metrics to this file')
    # Options may stand between the config and the checkpoint.
    return parser.parse_intermixed_args()


def checkpoint_of(cfg: Config, args: argparse.Namespace) -> str | None:
    """The checkpoint given, else the one that the config names, else the work dir's export.

    Returns:
        ``None`` if none of these is there, and the model has nothing to load.

    Raises:
        CompressionError: If there's none.
    """
    path = args.checkpoint or cfg.get('load_from')
    if path:
        return path
    if not is_sub_model(cfg.model):
        if not build_model(cfg).state_dict():
            return None
        raise CompressionError('no checkpoint was given, and the config names none')
    own = (cfg.model.get('init_cfg') or {}).get('checkpoint')
    places = [Path(cfg.work_dir, *folder, 'compact.pth') for folder in ((), ('export',))]
    path = own or next((str(place) for place in places if place.is_file()), None)
    if path is None:
        raise CompressionError(
            f'no checkpoint was given, and there is no {places[1]} in the work dir; '
            'tools/export.py writes it'
        )
    return path


def check(cfg: Config) -> None:
    """See that the checkpoint is one of the model, or of the dense network that it starts from."""
    model, state = build_model(cfg), load_checkpoint_file(cfg.load_from)['state_dict']
    own = any(key.removeprefix('module.').startswith('architecture.') for key in state)
    if isinstance(model, FilterAlgorithm) and model.init != RANDOM and not own:
        dense = copy.deepcopy(cfg)
        dense.model = dense.model.architecture
        model = build_model(dense)
    check_fits(model, state, cfg.load_from)


def main() -> None:
    args = parse_args()
    cfg = load_config(args)
    apply_launch_arguments(cfg, args)
    apply_inference_arguments(cfg, args)
    if cfg.get('test_dataloader') is None:
        raise CompressionError(f'{args.config} has no test_dataloader to evaluate on')
    cfg.load_from = checkpoint_of(cfg, args)
    if cfg.load_from:
        check(cfg)
    metrics = ToolRunner.from_cfg(cfg).test()
    if args.json:
        Path(args.json).write_text(json.dumps(metrics, indent=2, default=float) + '\n')


if __name__ == '__main__':
    run(main)
