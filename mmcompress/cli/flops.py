"""Count parameters and MACs of the dense and the compact model of a config.

A checkpoint is needed only if widths depend on the weights (`widths='magnitude'`).

Example:
    mmcompress flops configs/pruning/mmcls/dcff/dcff_resnet50_8xb32_in1k.py --json
"""

from __future__ import annotations

import argparse
from typing import Any

from .options import (
    add_config_arguments,
    add_json_argument,
    add_shape_argument,
    give_json,
    prints_json,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command line may say."""
    add_config_arguments(parser)
    parser.add_argument('checkpoint', nargs='?', help='checkpoint of the model of the config')
    add_shape_argument(parser)
    parser.add_argument(
        '--module',
        nargs='+',
        default=[],
        metavar='NAME',
        help='also count these modules alone, for example a residual block: backbone.blocks.0',
    )
    add_json_argument(parser)


def main(args: argparse.Namespace) -> None:
    """Count, and show a table of the stages."""
    from mmcompress.core.base.build import build_model
    from mmcompress.core.base.image_shape import image_shape
    from mmcompress.core.probe.example import Example
    from mmcompress.report.models import dense_and_compact, report

    from .launch import load_config, results_on_stdout
    from .planning import counted_with, tell_plan, training_by_budget

    with results_on_stdout():
        cfg = load_config(args.config, args.compress, args.cfg_options)
        if args.shape:
            image_shape(cfg, args.shape)  # an error of the command line comes before others
        built = build_model(cfg)
        models = dense_and_compact(cfg, args.checkpoint, built=built)
        images = counted_with(cfg, built, args.shape)
        rows = [report(name, model, images, args.module) for name, model in models.items()]
        plan = tell_plan(cfg, built, training_by_budget(args), args.shape)
    shape = images.shape if isinstance(images, Example) else images
    found = dict(shape=shape, models=rows)
    give_json(found if plan is None else dict(found, plan=plan.as_dict()), args.json)
    if not prints_json(args.json):
        show(rows, args.module, f'{args.config} at {"x".join(map(str, shape))}')


def show(rows: list[dict[str, Any]], modules: list[str], title: str) -> None:
    """Print a table: a line for each stage and module, a pair of columns for each model."""
    from rich.console import Console

    from mmcompress.report import print_table

    names = dict.fromkeys(stage['name'] for row in rows for stage in row['stages'])
    table = []
    for stage in [*names, 'total', *(name for name in modules if name not in names)]:
        line: dict[str, Any] = {'stage': stage}
        for row in rows:
            parts = [*row['stages'], *row.get('modules', [])]
            found = next((part for part in parts if part['name'] == stage), None)
            part = row if stage == 'total' else found or dict(params=0, macs=0)
            line[f'{row["model"]} params'] = f'{part["params"] / 1e6:.3f}M'
            line[f'{row["model"]} MACs'] = f'{part["macs"] / 1e6:.2f}M'
        table.append(line)
    print_table(table, title=title, console=Console())
