"""Cut the large images of a folder into sub-images, for training to read no more than it needs.

480x480 pixels every 240, as super-resolution does with DIV2K; the last sub-image of a row or column
ends with the image. `0001.png` becomes `0001_s001.png`, `0001_s002.png` and so on, in a new
folder beside the old one. Low-resolution images are cut alike, each scale from its own folder;
their sub-images are called as those of the true images.

All images are read and written by as many threads as `--threads` says. Nothing is written unless
all of it is; an existing folder is never touched.

Example:
    mmcompress data crop data/DIV2K/DIV2K_train_HR \
        --lq 2=data/DIV2K/DIV2K_train_LR_bicubic/X2 4=data/DIV2K/DIV2K_train_LR_bicubic/X4
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from mmcompress.cli.options import (
    add_json_argument,
    add_threads_argument,
    give_json,
    prints_json,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command line may say."""
    parser.add_argument('gt', type=Path, help='the folder of true images')
    parser.add_argument(
        '--lq',
        nargs='+',
        default=[],
        metavar='SCALE=FOLDER',
        help='folders of their low-resolution images, e.g. 4=DIV2K_train_LR_bicubic/X4',
    )
    parser.add_argument('--size', type=int, default=480, help='side, in pixels of a true image')
    parser.add_argument('--step', type=int, default=240, help='from one to the next, likewise')
    parser.add_argument('--suffix', default='_sub', help='of the new folders, behind the old name')
    parser.add_argument('--skip-bad', action='store_true', help='leave out what is damaged')
    add_threads_argument(parser, default=min(8, os.cpu_count() or 1), several=False)
    add_json_argument(parser)


def main(args: argparse.Namespace) -> None:
    """Cut, and say what was done."""
    from mmcompress.cli.launch import results_on_stdout

    from .cropping import cut_all, folders

    sources = folders(args)
    with results_on_stdout():
        report = cut_all(args, sources)
    give_json(report, args.json)
    if prints_json(args.json):
        return
    print(f'{report["images"]} images cut into {report["sub_images"]} of {args.size}x{args.size}:')
    for folder in report['folders'].values():
        print(f'  {folder}')
    if report['left_out']:
        print(f'left out: {", ".join(report["left_out"])}')
