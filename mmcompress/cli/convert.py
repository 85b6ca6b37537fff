r"""Turn a checkpoint of a paper's authors, or of MMRazor, into one of mmcompress.

SRC is a file that their program wrote, CONFIG the config of ours for the same network. DST becomes
a checkpoint that `mmcompress test CONFIG DST` evaluates and `load_from` starts from. With
--compact, and where SRC holds no more than a compact network, DST becomes the folder of an export.

The result says what has become of every key of SRC. Nothing is written unless all tensors of the
network are there, and all tensors of SRC have a place.

Example:
    mmcompress convert --from linear_conv net_epoch_240.ckpt base.pth \
        --config configs/pruning/mmcls/linear_conv/linear_conv_linear_base_250e_cifar10.py
"""

from __future__ import annotations

import argparse

from .layouts import layouts
from .options import add_config_changes, add_json_argument, give_json, prints_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command line may say."""
    parser.add_argument('source', metavar='SRC', help='the checkpoint of the other program')
    parser.add_argument(
        'target', metavar='DST', help='the file to write; with --compact the folder'
    )
    parser.add_argument(
        '--from',
        dest='layout',
        required=True,
        choices=layouts(),
        help='whose program wrote SRC',
    )
    parser.add_argument('--config', required=True, help='the config of the network in SRC')
    add_config_changes(parser)
    parser.add_argument(
        '--compact',
        action='store_true',
        help='write the exported network (compact.pth, compact.py, fix_subnet.json) to the folder '
        'DST',
    )
    parser.add_argument('--overwrite', action='store_true', help='replace what is at DST')
    add_json_argument(parser)


def main(args: argparse.Namespace) -> None:
    """Convert, and show the account."""
    from .converting import convert
    from .launch import results_on_stdout

    with results_on_stdout():
        result = convert(args)
    give_json(result, args.json)
    if not prints_json(args.json):
        show(result)


def show(result: dict) -> None:
    """Print the account of all keys, and what was written."""
    from rich.console import Console

    from mmcompress.report import print_table

    rows = [dict(row, shape=' x '.join(map(str, row['shape']))) for row in result['keys']]
    print_table(rows, title=f'{result["source"]}, {result["kind"]}', console=Console())
    used = sum(bool(row['becomes']) for row in rows)
    for note in result['notes']:
        print(f'note: {note}')
    print(
        f'{used} of {len(rows)} tensors used, {len(rows) - used} left out; written to '
        f'{result["target"]} ({result["form"]})'
    )
