"""Evaluate a checkpoint of a dense model, of a training, or of an exported model.

Example:
    mmcompress test configs/demo/dcff_resnet20_digits.py work_dirs/x/epoch_15.pth
    mmcompress test work_dirs/x/export/compact.py work_dirs/x/export/compact.pth
    mmcompress test configs/demo/bicubic_x2_photos.py  # nothing is learned: no checkpoint
    mmcompress test CONFIG CHECKPOINT --chop 64 --self-ensemble  # super-resolution

With a method that fits bases to dense weights, and the checkpoint of the dense network, it
evaluates the network that training would start from.
"""

from __future__ import annotations

import argparse
import contextlib

from .options import (
    add_config_arguments,
    add_inference_arguments,
    add_json_argument,
    add_launch_arguments,
    give_json,
    prints_json,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command line may say."""
    add_config_arguments(parser)
    parser.add_argument(
        'checkpoint', nargs='?', help='may be left out for an exported model in the work dir'
    )
    add_launch_arguments(parser)
    add_inference_arguments(parser)
    add_json_argument(parser)


def main(args: argparse.Namespace) -> None:
    """Evaluate; the log shows the metrics."""
    from .launch import results_on_stdout
    from .testing import evaluate

    with results_on_stdout() if prints_json(args.json) else contextlib.nullcontext():
        metrics = evaluate(args)
    give_json(metrics, args.json)
