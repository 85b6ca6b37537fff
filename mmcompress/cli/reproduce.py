"""Train a published row as its authors did, and set the accuracy beside the published one.

It trains all stages of the recipe, exports the network and evaluates the export, once for each
seed. The same command goes on where an earlier one stopped. result.json and result.md in the work
dir have the figures.

DIR holds the data as OpenMMLab's configs expect them in `data/`: cifar10, cifar100, imagenet,
coco, cityscapes, DIV2K with benchmark. The batch is the published one: GPUs share it.

Example:
    mmcompress reproduce --list
    mmcompress reproduce SYSTEM ROW --data /data --gpus 8 --seeds 0 1 2
    mmcompress reproduce SYSTEM ROW --data /data --gpus 8 --slurm PARTITION
    mmcompress reproduce SYSTEM ROW --smoke  # the first steps, on embedded data
    mmcompress reproduce --smoke-all --markdown  # of every row: does it run, what will it take
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from typing import Any

from .options import add_json_argument, give_json, prints_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command line may say."""
    parser.add_argument('system', nargs='?', help='whose row, see --list')
    parser.add_argument('row', nargs='?', help='its name')
    parser.add_argument('--data', metavar='DIR', help='the folder of the data sets')
    parser.add_argument('--gpus', type=int, metavar='N', help='processes, one for each GPU')
    parser.add_argument('--slurm', metavar='PARTITION', help='start the processes by Slurm, there')
    parser.add_argument(
        '--seeds', type=int, nargs='+', default=[0], metavar='N', help='train once with each'
    )
    parser.add_argument(
        '--work-dir', help='folder for all files (default: work_dirs/reproduce/SYSTEM/ROW)'
    )
    parser.add_argument('--list', action='store_true', help='list the rows, of SYSTEM or all')
    parser.add_argument(
        '--smoke',
        action='store_true',
        help='do a few steps of each stage, on embedded data of the size of the real ones',
    )
    parser.add_argument(
        '--smoke-all',
        action='store_true',
        help='a smoke of every row, of SYSTEM or all, and what the whole training would take',
    )
    parser.add_argument('--markdown', action='store_true', help='print Markdown')
    add_json_argument(parser)


def main(args: argparse.Namespace) -> None:
    """List rows, or train."""
    from .launch import results_on_stdout

    quiet = args.markdown or prints_json(args.json)
    with results_on_stdout() if quiet else contextlib.nullcontext():
        result, text = _run(args)
    give_json(result, args.json)
    if not prints_json(args.json):
        print(text, end='')
    if args.smoke_all and not all(smoke['passed'] for smoke in result):
        sys.exit(1)


def _run(args: argparse.Namespace) -> tuple[Any, str]:
    """The result, and what is printed of it."""
    from mmcompress.core.errors import CompressionError

    from . import reproduction, smokes
    from .rows import find_row, rows_of

    if args.list or args.smoke_all:
        if args.row:
            option = '--list' if args.list else '--smoke-all'
            raise CompressionError(f'{option} is of all rows of a system; leave out {args.row!r}')
        rows = rows_of(args.system)
        if args.list:
            listed = [reproduction.description(row) for row in rows]
            return listed, reproduction.text_of(listed, args.markdown)
        found = smokes.smoke_all(rows, args.work_dir)
        return found, reproduction.text_of(smokes.table_rows(found), args.markdown)
    if not args.system or not args.row:
        raise CompressionError('SYSTEM and ROW are missing; --list shows which there are')
    if args.gpus is not None and args.gpus < 1:
        raise CompressionError(f'--gpus is {args.gpus}; it has to be 1 or more')
    if min(args.seeds) < 0:
        raise CompressionError(f'--seeds has {min(args.seeds)}; it has to be 0 or more')
    row = find_row(args.system, args.row)
    result = reproduction.reproduce(row, args)
    return result, reproduction.text_of(reproduction.table_rows([result]), args.markdown)
