"""Train, compress, export and measure a ResNet-20 on the embedded digits: minutes on a CPU.

It trains the dense network and its compressed versions, exports them, and compares the exported
networks: top-1, parameters, MACs, and latency, measured in turn. A finished training of the same
config is not repeated. The table is written to summary.json and summary.png in the work dir.
"""

from __future__ import annotations

import argparse
import contextlib

from .options import add_json_argument, give_json, prints_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command line may say."""
    parser.add_argument('--work-dir', default='work_dirs/demo', help='folder for all files')
    parser.add_argument('--epochs', type=int, help='train for this many epochs, for a quick look')
    add_json_argument(parser)


def main(args: argparse.Namespace) -> None:
    """Run the demo."""
    from .demonstration import compare_all
    from .launch import results_on_stdout

    with results_on_stdout() if prints_json(args.json) else contextlib.nullcontext():
        rows = compare_all(args)
    give_json(rows, args.json)
