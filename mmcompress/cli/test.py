"""Evaluate a checkpoint of a dense model, of a training, or of an exported model, or a file.

Example:
    mmcompress test configs/demo/dcff_resnet20_digits.py work_dirs/x/epoch_15.pth
    mmcompress test work_dirs/x/export/compact.py work_dirs/x/export/compact.pth
    mmcompress test CONFIG compact.onnx --runtime openvino  # a file of `export --onnx end2end`
    mmcompress test configs/demo/bicubic_x2_photos.py  # nothing is learned: no checkpoint
    mmcompress test CONFIG CHECKPOINT --chop 64 --self-ensemble  # super-resolution

An ONNX file gets the images of the config's test data as the model gets them, and the same
evaluators judge what it predicts.

With a method that fits bases to dense weights, and the checkpoint of the dense network, it
evaluates the network that training would start from.
"""

from __future__ import annotations

import argparse
import contextlib

from .options import (
    RUNTIMES,
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
        'checkpoint',
        nargs='?',
        help='a checkpoint, or an ONNX file with predictions (`export --onnx end2end`); may be '
        'left out for an exported model in the work dir',
    )
    parser.add_argument(
        '--runtime', choices=RUNTIMES, help='what runs an ONNX file (default: onnxruntime)'
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
