"""Train a config: dense, compressed as it says, or compressed with --compress.

Example:
    mmcompress train configs/demo/dcff_resnet20_digits.py
    mmcompress train mmpretrain::resnet/resnet50_8xb32_in1k.py --compress dcff_r50
    mmcompress train configs/demo/fcf_resnet20_digits.py  # several trainings, then the export

Of several trainings, `--cfg-options finetune.key=value` is for the one called so, `key=value`
for all, `model.key=value` for those that compress.
"""

from __future__ import annotations

import argparse

from .options import add_config_arguments, add_launch_arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command line may say."""
    add_config_arguments(parser)
    add_launch_arguments(parser)
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        help='go on from this checkpoint, or from the latest in the work dir',
    )
    parser.add_argument('--amp', action='store_true', help='automatic mixed precision')
    parser.add_argument(
        '--auto-scale-lr', action='store_true', help='scale the learning rate with the batch size'
    )


def main(args: argparse.Namespace) -> None:
    """Train."""
    from .training import train

    train(args)
