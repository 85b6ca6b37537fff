"""Draw how a method came along: for FCF the histogram of v over time, residuals and penalty.

Example:
    python tools/plot.py work_dirs/fcf_resnet20_digits/factorize
"""

from __future__ import annotations

import argparse
from pathlib import Path

import mmcompress  # noqa: F401

# isort: split
from mmcompress.cli.launch import run
from mmcompress.report import progress_plot, read_progress


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Draw the progress of a training')
    parser.add_argument('work_dir', help='the folder that it wrote to')
    parser.add_argument('-o', '--out', help='the PNG; by default progress.png in that folder')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    out = Path(args.out) if args.out else Path(args.work_dir, 'progress.png')
    rows = read_progress(args.work_dir)
    progress_plot(rows, out, title=args.work_dir)
    print(f'{len(rows)} passes over the data, written to {out}')


if __name__ == '__main__':
    run(main)
