"""Train a config: dense, compressed as it says, or compressed with ``--compress``.

Example:
    python tools/train.py configs/demo/dcff_resnet20_digits.py
    python tools/train.py mmpretrain::resnet/resnet50_8xb32_in1k.py \
        --compress configs/_base_/methods/dcff_r50.py
"""

from __future__ import annotations

import argparse

import mmcompress  # noqa: F401

# isort: split
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.runner import find_latest_checkpoint

from mmcompress.core.checkpoint import check_belongs, check_fits, load_checkpoint_file
from mmcompress.core.errors import CompressionError
from mmcompress.core.subnet import is_sub_model
from mmcompress.engine.launch import (
    ToolRunner,
    add_config_arguments,
    add_launch_arguments,
    apply_launch_arguments,
    build_model,
    load_config,
    run,
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Train a model, compressed or dense')
    add_config_arguments(parser)
    add_launch_arguments(parser)
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        help='go on from this checkpoint, or from the latest in the work dir',
    )
    parser.add_argument('--amp', action='store_true', help='automatic mixed precision')
    parser.add_argument(
        '--auto-scale-lr', action='store_true', help='scale the learning rate with the batch size'
    )
    return parser.parse_args()


def apply_arguments(cfg: Config, args: argparse.Namespace) -> None:
    """Put the arguments where mmengine's runner looks for them."""
    apply_launch_arguments(cfg, args)
    if args.amp:
        if get_device() == 'cpu':
            raise CompressionError('--amp needs an accelerator; there is none here')
        wrapper = cfg.optim_wrapper.get('type', 'OptimWrapper')
        if wrapper not in ('OptimWrapper', 'AmpOptimWrapper'):
            raise CompressionError(f'--amp works with OptimWrapper, not with {wrapper!r}')
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')
    if args.auto_scale_lr:
        if 'base_batch_size' not in (cfg.get('auto_scale_lr') or {}):
            raise CompressionError('--auto-scale-lr needs auto_scale_lr.base_batch_size')
        cfg.auto_scale_lr.enable = True
    if args.resume == 'auto':
        cfg.resume, cfg.load_from = True, None
    elif args.resume:
        cfg.resume, cfg.load_from = True, args.resume


def check(cfg: Config) -> None:
    """Find mistakes before anything is written: the model, and what is to be loaded."""
    model = build_model(cfg)
    path = cfg.get('load_from')
    own = (cfg.model.get('init_cfg') or {}).get('checkpoint')
    if is_sub_model(cfg.model) and own:
        check_fits(model, load_checkpoint_file(own)['state_dict'], own)
    if cfg.get('resume') and not path:
        path = find_latest_checkpoint(cfg.work_dir)
    if path and cfg.get('resume'):
        check_fits(model, load_checkpoint_file(path)['state_dict'], path)
    elif path:
        check_belongs(model, load_checkpoint_file(path)['state_dict'], path)


def main() -> None:
    args = parse_args()
    cfg = load_config(args)
    apply_arguments(cfg, args)
    check(cfg)
    ToolRunner.from_cfg(cfg).train()


if __name__ == '__main__':
    run(main)
