"""Draw how a method came along, such as the histogram of scalars over time, and the penalty.

Example:
    mmcompress plot work_dirs/fcf_resnet20_digits/factorize
"""

from __future__ import annotations

import argparse
from pathlib import Path

from .options import add_out_argument


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command line may say."""
    parser.add_argument('work_dir', help='the folder that it wrote to')
    add_out_argument(parser, 'the PNG; by default progress.png in that folder')


def main(args: argparse.Namespace) -> None:
    """Draw."""
    from mmcompress.report import progress_plot, read_progress

    out = Path(args.out) if args.out else Path(args.work_dir, 'progress.png')
    rows = read_progress(args.work_dir)
    progress_plot(rows, out, title=args.work_dir)
    print(f'{len(rows)} passes over the data, written to {out}')
