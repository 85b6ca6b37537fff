"""Put trainings and their exports side by side on one page, for others to read.

WORK_DIR is a folder that a training wrote to, an export, or a folder with such below it. The
page, report.html, needs no network; beside it are its pictures as PNG, and report.json, with every
figure of the page.

Example:
    mmcompress report work_dirs/demo -o report
"""

from __future__ import annotations

import argparse

from .options import (
    add_json_argument,
    add_out_argument,
    add_shape_argument,
    give_json,
    prints_json,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command line may say."""
    parser.add_argument(
        'work_dirs', nargs='+', metavar='WORK_DIR', help='work dirs of trainings, or exports'
    )
    add_out_argument(parser, 'folder to write to (default: report)')
    parser.add_argument(
        '--metric', metavar='NAME', help='compare by this metric (default: the first of the logs)'
    )
    add_shape_argument(parser)
    parser.add_argument('--repeats', type=int, default=30, help='number of timed rounds')
    parser.add_argument(
        '--samples',
        type=int,
        default=4,
        metavar='N',
        help='show predictions on this many validation images (default 4; 0 for none)',
    )
    add_json_argument(parser)


def main(args: argparse.Namespace) -> None:
    """Read, measure, and write the page."""
    from mmcompress.core.checks import check_count

    from .launch import results_on_stdout
    from .reporting import make_report, show

    check_count(args.repeats, '--repeats')
    if args.samples:
        check_count(args.samples, '--samples')
    with results_on_stdout():
        report = make_report(args)
    give_json(report, args.json)
    if not prints_json(args.json):
        show(report, args.out)
