"""Compress a trained network at once, and repair it from a few unlabelled training images.

Writes a checkpoint of the compressed model, to test, to export, or to train on from. No label is
read, and nothing is drawn but by the seed: the same command writes the same weights.

Example:
    mmcompress recover CONFIG DENSE.pth --compress filter_basis_r50 -o recovered.pth
    mmcompress export CONFIG recovered.pth --compress filter_basis_r50
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .options import (
    add_config_arguments,
    add_json_argument,
    add_out_argument,
    give_json,
    prints_json,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command line may say."""
    add_config_arguments(parser)
    parser.add_argument('checkpoint', help='of the dense network')
    add_out_argument(parser, 'file to write; by default recovered_NAME beside the checkpoint')
    parser.add_argument(
        '--images',
        type=int,
        default=400,
        metavar='N',
        help="how many of the config's training images to repair with (default 400)",
    )
    parser.add_argument(
        '--batch', type=int, default=16, metavar='N', help='images of a batch (default 16)'
    )
    parser.add_argument(
        '--steps',
        type=int,
        default=100,
        metavar='N',
        help='steps of training that bring the features near those of the dense network (default '
        '100; 0 leaves it out)',
    )
    parser.add_argument('--seed', type=int, default=0, help='of all that is drawn (default 0)')
    add_json_argument(parser)


def main(args: argparse.Namespace) -> None:
    """Recover, and say how long it took and what comes next."""
    from .launch import load_config, results_on_stdout
    from .recovering import recover_checkpoint

    given = Path(args.checkpoint)
    out = Path(args.out) if args.out else given.with_name(f'recovered_{given.name}')
    with results_on_stdout():
        cfg = load_config(args.config, args.compress, args.cfg_options)
        result = recover_checkpoint(
            cfg,
            given,
            out,
            images=args.images,
            batch=args.batch,
            steps=args.steps,
            seed=args.seed,
        )
    give_json(result, args.json)
    if not prints_json(args.json):
        show(result, args)


def show(result: dict[str, Any], args: argparse.Namespace) -> None:
    """Print what took how long, and the next command."""
    parts = ', '.join(f'{name} {seconds:.1f} s' for name, seconds in result['seconds'].items())
    print(f'{result["images"]} images: {parts}')
    if 'loss' in result:
        print(f'features differ from the dense ones by {result["loss"]:.1%} of their square')
    method = f' --compress {args.compress}' if args.compress else ''
    print(
        f'written to {result["out"]}; next: mmcompress test {args.config} {result["out"]}{method}'
    )
