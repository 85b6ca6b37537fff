"""Count parameters and MACs of a model: dense, and compact as its config makes it.

Where widths depend on the weights (FCF with ``widths='magnitude'``) give a checkpoint as well.

Example:
    python tools/get_flops.py configs/pruning/mmcls/dcff/dcff_resnet50_8xb32_in1k.py --json
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import mmcompress  # noqa: F401

# isort: split
from rich.console import Console

from mmcompress.cli.image_shape import add_shape_argument, image_shape
from mmcompress.cli.launch import add_config_arguments, load_config, results_on_stdout, run
from mmcompress.report import print_table
from mmcompress.report.models import dense_and_compact, report


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Count parameters and MACs')
    add_config_arguments(parser)
    parser.add_argument('checkpoint', nargs='?', help='of the model of the config')
    add_shape_argument(parser)
    parser.add_argument(
        '--module',
        nargs='+',
        default=[],
        metavar='NAME',
        help='also count these modules by themselves, for example a residual block: '
        'backbone.blocks.0',
    )
    parser.add_argument('--json', action='store_true', help='print JSON instead of a table')
    # Options may stand between the config and the checkpoint.
    return parser.parse_intermixed_args()


def main() -> None:
    args = parse_args()
    with results_on_stdout():
        cfg = load_config(args)
        shape = image_shape(cfg, args.shape)
        models = dense_and_compact(cfg, args.checkpoint)
        rows = [report(name, model, shape, args.module) for name, model in models.items()]
    if args.json:
        print(json.dumps(dict(shape=shape, models=rows), indent=2))
        return
    names = dict.fromkeys(stage['name'] for row in rows for stage in row['stages'])
    table = []
    for stage in [*names, 'total', *(name for name in args.module if name not in names)]:
        line: dict[str, Any] = {'stage': stage}
        for row in rows:
            parts = [*row['stages'], *row.get('modules', [])]
            found = next((part for part in parts if part['name'] == stage), None)
            part = row if stage == 'total' else found or dict(params=0, macs=0)
            line[f'{row["model"]} params'] = f'{part["params"] / 1e6:.3f}M'
            line[f'{row["model"]} MACs'] = f'{part["macs"] / 1e6:.2f}M'
        table.append(line)
    print_table(table, title=f'{args.config} at {"x".join(map(str, shape))}', console=Console())


if __name__ == '__main__':
    run(main)
