"""Evaluate a checkpoint: of a dense model, an algorithm in training, or an exported model.

Example:
    python tools/test.py configs/demo/dcff_resnet20_digits.py work_dirs/x/epoch_10.pth
    python tools/test.py work_dirs/x/export/compact.py work_dirs/x/export/compact.pth
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from mmengine import dump
from mmengine.runner import Runner

import mmcompress  # noqa: F401
from mmcompress.core.checkpoint import check_fits, load_checkpoint_file
from mmcompress.core.errors import CompressionError
from mmcompress.engine.launch import add_config_arguments, build_model, load_config, run


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Evaluate a checkpoint')
    add_config_arguments(parser)
    parser.add_argument('checkpoint')
    parser.add_argument('--work-dir', help='where to save logs and metrics')
    parser.add_argument('--json', metavar='FILE', help='write the metrics to this file')
    parser.add_argument(
        '--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none'
    )
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)
    args = parser.parse_args()
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return args


def main() -> None:
    args = parse_args()
    cfg = load_config(args)
    cfg.launcher = args.launcher
    if args.work_dir:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = str(Path('work_dirs') / Path(args.config.split('::')[-1]).stem)
    if cfg.get('test_dataloader') is None:
        raise CompressionError(f'{args.config} has no test_dataloader to evaluate on')
    check_fits(
        build_model(cfg), load_checkpoint_file(args.checkpoint)['state_dict'], args.checkpoint
    )
    cfg.load_from = args.checkpoint
    metrics = Runner.from_cfg(cfg).test()
    if args.json:
        dump(metrics, args.json)


if __name__ == '__main__':
    run(main)
