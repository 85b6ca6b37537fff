"""Train a config: dense, compressed as it says, or compressed with ``--compress``.

Example:
    python tools/train.py configs/demo/dcff_resnet20_digits.py
    python tools/train.py mmpretrain::resnet/resnet50_8xb32_in1k.py \
        --compress configs/_base_/methods/dcff_r50.py
    python tools/train.py configs/demo/fcf_resnet20_digits.py  # several trainings, then the export

Of several trainings, ``--cfg-options finetune.key=value`` is for the one called so, ``key=value``
for all, ``model.key=value`` for those that compress.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import mmcompress  # noqa: F401

# isort: split
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.logging import print_log
from mmengine.runner import find_latest_checkpoint

from mmcompress.cli.launch import (
    ToolRunner,
    add_config_arguments,
    add_launch_arguments,
    apply_launch_arguments,
    load_config,
    run,
)
from mmcompress.cli.staged_training import train_stages
from mmcompress.cli.stages import Stage, options_of, stages_of
from mmcompress.core.base.algorithm import CompressionAlgorithm
from mmcompress.core.base.build import build_model, init_scope
from mmcompress.core.errors import CompressionError
from mmcompress.core.export.checkpoint import check_belongs, check_fits, load_checkpoint_file
from mmcompress.core.export.static import is_sub_model


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
        cfg.resume = find_latest_checkpoint(cfg.work_dir) is not None
        if cfg.resume:
            cfg.load_from = None
        else:
            print_log(f'nothing to resume in {cfg.work_dir}: training begins', logger='current')
    elif args.resume:
        cfg.resume, cfg.load_from = True, args.resume


def check(cfg: Config, first: bool = True) -> None:
    """Find mistakes before anything is written: the model, and what is to be loaded.

    Args:
        cfg: What is to be trained.
        first: Whether it is no later stage, which gets the weights of the one before.
    """
    model = build_model(cfg)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise CompressionError('the model has nothing to train; tools/test.py evaluates it')
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
    if isinstance(model, CompressionAlgorithm):
        model.check_start(loads=bool(path) or not first)


def stage_configs(args: argparse.Namespace, stages: list[Stage]) -> dict[str, Config]:
    """The configs of all stages by name, each in a folder of its own, checked.

    Raises:
        CompressionError: If one of them is wrong, whichever it is.
    """
    if args.resume not in (None, 'auto'):
        raise CompressionError(
            f'--resume is {args.resume!r}; stages are resumed where they stopped, by --resume '
            'without a checkpoint'
        )
    folder = Path(args.work_dir or Path('work_dirs', Path(args.config).stem))
    options = options_of(stages, args.cfg_options)
    configs = {}
    for stage in stages:
        own = argparse.Namespace(**vars(args))
        own.config, own.work_dir = stage.config, str(folder / stage.name)
        own.cfg_options, own.resume = options[stage.name], None
        cfg = load_config(own)
        apply_arguments(cfg, own)
        if configs:
            cfg.load_from = None  # the stage before will give it
        check(cfg, first=not configs)
        configs[stage.name] = cfg
    return configs


def main() -> None:
    args = parse_args()
    stages = stages_of(args.config)
    if stages:
        train_stages(stage_configs(args, stages), resume=bool(args.resume))
        return
    cfg = load_config(args)
    apply_arguments(cfg, args)
    check(cfg)
    init_scope(cfg)
    ToolRunner.from_cfg(cfg).train()


if __name__ == '__main__':
    run(main)
