r"""List the units of a model by name, or find keep ratios for a budget.

A unit is what a method makes smaller as a whole. The config of a method that removes channels has
channel units. The config of a method with bases has filter units, with their layers and ranks; its
keep ratios are shares of parameters. Any other config, or `lib::config`, gives the channel units of
its dense model.

Example:
    mmcompress units configs/pruning/mmcls/dcff/dcff_resnet50_8xb32_in1k.py -c -i -o units.json
    mmcompress units mmdet::faster_rcnn/faster-rcnn_r50_fpn_2x_coco.py \
        --budget macs=0.8 divisor=8 --choice -o ratios.json
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from .options import OldNameAction, OptionAction, add_config_arguments, add_out_argument, give_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command line may say."""
    add_config_arguments(parser)
    parser.add_argument(
        '-c',
        '--with-channel',
        action='store_true',
        help='include the channels of every unit, or its layers',
    )
    parser.add_argument(
        '-i', '--with-init-args', action='store_true', help='include the arguments of every unit'
    )
    parser.add_argument(
        '--choice',
        action='store_true',
        help='print keep ratios by unit name only; -c and -i are ignored',
    )
    parser.add_argument(
        '--budget',
        nargs='+',
        action=OptionAction,
        metavar='KEY=VALUE',
        help='find keep ratios for a budget: macs=0.55 (a share of the dense model, or a number '
        "such as 2.25G), params, latency=0.6 (or '12ms') with runtime, threads, batch and table; "
        'min_ratio, max_ratio, divisor, input_shape=3,800,1333',
    )
    parser.add_argument(
        '--target', nargs='+', action=OldNameAction, dest='budget', help=argparse.SUPPRESS
    )
    parser.add_argument(
        '--times', metavar='FILE', help='write what a budget of latency came to, by layer, as JSON'
    )
    add_out_argument(
        parser,
        'write to this file instead of the terminal; it may replace an earlier file of units',
        '--output-path',
    )


def main(args: argparse.Namespace) -> None:
    """List the units.

    Raises:
        CompressionError: If the file exists and holds something else.
    """
    from mmcompress.core.base.units_file import is_units_file, units_in
    from mmcompress.core.errors import CompressionError

    from .launch import results_on_stdout
    from .listing import build, template
    from .timing import show_times

    path = Path(args.out) if args.out else None
    with results_on_stdout():
        content, solution = template(*build(args), args)
        if solution is not None:
            show_times(solution)
    if args.times and solution is not None:
        give_json(vars(solution), args.times)
    if path and path.is_file() and not is_units_file(path, units_in(content)):
        raise CompressionError(
            f'--out: {str(path)!r} exists and does not hold units of this kind; give another name'
        )
    text = json.dumps(content, indent=4)
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + '\n', encoding='utf-8')
        print(f'written to {path}', file=sys.stderr)
    else:
        print(text)
