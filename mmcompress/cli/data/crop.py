r"""Cut the large images of a folder into sub-images, so that training reads less.

Sub-images have 480x480 pixels and begin every 240 pixels, as is usual for DIV2K. The last one of a
row or column ends with the image. `0001.png` becomes `0001_s001.png`, `0001_s002.png` and so on, in
a new folder beside the old one. Low-resolution images are cut at the same places, each scale from
its own folder, and their sub-images get the names of the true ones.

Either all files are written or none. An existing folder is never changed.

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
    parser.add_argument(
        '--step', type=int, default=240, help='pixels from one sub-image to the next'
    )
    parser.add_argument('--suffix', default='_sub', help='added to the old name for the new folder')
    parser.add_argument(
        '--skip-bad', action='store_true', help='leave out damaged images instead of stopping'
    )
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
