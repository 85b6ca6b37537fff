"""Train, compress, export and measure a ResNet-20 on the embedded digits: minutes on a CPU.

Trains the dense network and its compressed versions, exports these, and compares what a user
would run: top-1, parameters, MACs, and the latency of all models measured in turn. A training
that is there already, of the same config, is not repeated. The work dir has the table as
summary.json and summary.png.
"""

from __future__ import annotations

import argparse
import contextlib

from .options import add_json_argument, give_json, prints_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command line may say."""
    parser.add_argument('--work-dir', default='work_dirs/demo', help='where everything goes')
    parser.add_argument('--epochs', type=int, help='train shorter, for a quick look')
    add_json_argument(parser)


def main(args: argparse.Namespace) -> None:
    """Run the demo."""
    from .demonstration import compare_all
    from .launch import results_on_stdout

    with results_on_stdout() if prints_json(args.json) else contextlib.nullcontext():
        rows = compare_all(args)
    give_json(rows, args.json)
