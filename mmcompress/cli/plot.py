"""Draw the progress of a training, for example a histogram of scalars over time.

Example:
    mmcompress plot work_dirs/fcf_resnet20_digits/factorize
"""

from __future__ import annotations

import argparse
from pathlib import Path

from .options import add_out_argument


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command line may say."""
    parser.add_argument('work_dir', help='the work dir of the training')
    add_out_argument(parser, 'PNG file to write (default: progress.png in that folder)')


def main(args: argparse.Namespace) -> None:
    """Draw."""
    from mmcompress.report import progress_plot, read_progress, what_was_trained

    out = Path(args.out) if args.out else Path(args.work_dir, 'progress.png')
    rows = read_progress(args.work_dir)
    progress_plot(rows, out, title=what_was_trained(args.work_dir))
    print(f'{len(rows)} passes over the data drawn, written to {out}')
