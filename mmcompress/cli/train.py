"""Train a config. With --compress, compress the model of a dense config.

Example:
    mmcompress train configs/demo/dcff_resnet20_digits.py
    mmcompress train mmpretrain::resnet/resnet50_8xb32_in1k.py --compress dcff_r50
    mmcompress train configs/demo/fcf_resnet20_digits.py  # two stages, then the export

A config may list several stages, which are trained one after another. There `--cfg-options
finetune.key=value` changes the stage `finetune`, `key=value` changes all stages, and
`model.key=value` changes the stages that compress. `--stage finetune` trains that stage alone. A
method file may list stages too: `--compress fcf_r50` then trains all of them on any config.
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
        help='continue from this checkpoint; without one, from the latest in the work dir',
    )
    parser.add_argument(
        '--stage',
        metavar='NAME',
        help='train only this stage of the config, and do not export; it starts from its '
        'load_from, or else from the last checkpoint of the stage before',
    )
    parser.add_argument(
        '--epochs',
        nargs='+',
        metavar='STAGE=N',
        help='train stages for N epochs (iterations, where the config counts these); learning '
        'rate schedules are stretched in proportion',
    )
    parser.add_argument(
        '--distill',
        nargs='?',
        const=True,
        metavar='DENSE',
        help='let the dense network teach: its checkpoint; without one, the dense weights that '
        'training starts from',
    )
    parser.add_argument('--amp', action='store_true', help='automatic mixed precision')
    parser.add_argument(
        '--auto-scale-lr', action='store_true', help='scale the learning rate with the batch size'
    )


def main(args: argparse.Namespace) -> None:
    """Train."""
    from .training import train

    train(args)
