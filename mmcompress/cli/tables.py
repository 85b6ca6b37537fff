"""Count the networks of all published rows, beside the published figures.

Each row builds its network from a config, counts parameters and multiply-accumulates, and marks
where they agree with what is printed, to the printed digits.

Example:
    mmcompress tables --system dcff
"""

from __future__ import annotations

import argparse

from .options import add_json_argument, give_json, prints_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command line may say."""
    parser.add_argument(
        '--system',
        nargs='+',
        metavar='NAME',
        help='count the rows of these systems only: the names of the files in configs/published',
    )
    parser.add_argument(
        '--row',
        nargs='+',
        metavar='NAME',
        help='count only rows of these names (wildcards allowed)',
    )
    parser.add_argument(
        '--markdown',
        nargs='?',
        const='-',
        metavar='FILE.md',
        help='print the tables in Markdown; with a file, replace those that it has',
    )
    add_json_argument(parser)


def main(args: argparse.Namespace) -> None:
    """Count, and show a table for each system."""
    from mmcompress.report.published_tables import show, summary, to_markdown

    from .launch import results_on_stdout
    from .tabulating import count_rows, replace_tables

    with results_on_stdout():
        counted = count_rows(args.system, args.row)
    give_json(dict(rows=counted, summary=summary(counted)), args.json)
    if args.markdown == '-':
        print(to_markdown(counted), end='')
    elif args.markdown:
        replace_tables(args.markdown, to_markdown(counted))
    elif not prints_json(args.json):
        show(counted)
