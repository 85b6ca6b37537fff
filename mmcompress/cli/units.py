"""List the units of a model: what can be made narrower, or share a basis, and under which name.

The model is that of a compression config, of any other config, or of ``lib::config``; of the
last two, the units are the channel units of the dense model. ``--target`` finds keep ratios for a
budget. The config of a method with bases gives its filter units: layers, ranks, and as keep ratio
the share of their parameters.

Example:
    python tools/get_channel_units.py configs/pruning/mmcls/dcff/dcff_resnet50_8xb32_in1k.py \
        -c -i --output-path=resnet_cls.json
    python tools/get_channel_units.py mmdet::faster_rcnn/faster-rcnn_r50_fpn_2x_coco.py \
        --target macs=0.8 divisor=8 --choice -o ratios.json
"""

from __future__ import annotations

import argparse
import ast
import json
import sys
from pathlib import Path

import mmcompress  # noqa: F401

# isort: split
from mmengine.logging import print_log
from torch import nn

from mmcompress.cli.launch import (
    OptionAction,
    add_config_arguments,
    load_config,
    results_on_stdout,
    run,
)
from mmcompress.core.base.algorithm import CompressionAlgorithm
from mmcompress.core.base.build import build_model
from mmcompress.core.base.units_file import is_units_file, units_in
from mmcompress.core.channels.analyzer import DependencyAnalyzer, log_analysis
from mmcompress.core.channels.budget import Budget, solve
from mmcompress.core.errors import CompressionError


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='List the units of a model')
    add_config_arguments(parser)
    parser.add_argument(
        '-c',
        '--with-channel',
        action='store_true',
        help='with the channels of every unit, or its layers',
    )
    parser.add_argument(
        '-i', '--with-init-args', action='store_true', help='with the arguments of every unit'
    )
    parser.add_argument(
        '--choice', action='store_true', help='keep ratios by name only; -c and -i are ignored'
    )
    parser.add_argument(
        '--target',
        nargs='+',
        action=OptionAction,
        metavar='KEY=VALUE',
        help='find keep ratios for a budget: macs=0.55 (a share of the dense model, or a number '
        'such as 2.25G), params, min_ratio, max_ratio, divisor, input_shape=3,800,1333',
    )
    parser.add_argument(
        '-o',
        '--output-path',
        help='write to this file instead of the terminal; replaces an earlier file of units',
    )
    return parser.parse_args()


def _dict_or_value(key: str, value: object) -> object:
    """Limits by unit name come as ``"{'backbone.layer4.*': 0.9}"``."""
    if not (isinstance(value, str) and value.startswith('{')):
        return value
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError):
        raise CompressionError(f'--target: {key} is {value}, which is no dict') from None


def build(args: argparse.Namespace) -> tuple[nn.Module, Budget | None]:
    """The model, and the budget that it doesn't solve for itself.

    Raises:
        CompressionError: If config or budget are wrong.
    """
    if args.target is not None:
        args.target = {key: _dict_or_value(key, value) for key, value in args.target.items()}
    budget = None if args.target is None else Budget.from_config(args.target)
    cfg = load_config(args)
    if budget is not None and 'architecture' in cfg.model:
        cfg.model.target_pruning_ratio = None
        cfg.model.target = args.target
        budget = None
    return build_model(cfg), budget


def template(model: nn.Module, budget: Budget | None, args: argparse.Namespace) -> dict:
    """The units, in the shape of a mutator's config or as keep ratios."""
    if isinstance(model, CompressionAlgorithm):
        mutator = model.mutator
        if args.choice:
            return mutator.choice_template
        return mutator.config_template(args.with_init_args, args.with_channel)
    analysis = DependencyAnalyzer().analyze(model)
    log_analysis(analysis)
    units, ratios = analysis.units, dict.fromkeys(analysis.units, 1.0)
    if not units:
        raise CompressionError(f'no channel unit of {type(model).__name__} can be narrowed')
    if budget is not None:
        solution = solve(model, units, budget)
        print_log(f'target: {solution}', logger='current')
        ratios = solution.ratios
    if args.choice:
        return ratios
    wanted = {'init_args': args.with_init_args, 'channels': args.with_channel}
    return dict(
        channel_unit_cfg=dict(
            units={
                name: {
                    **{key: part for key, part in unit.as_dict().items() if wanted[key]},
                    'choice': ratios[name],
                }
                for name, unit in units.items()
            }
        ),
        parse_cfg=dict(type='DependencyAnalyzer'),
    )


def main() -> None:
    args = parse_args()
    path = Path(args.output_path) if args.output_path else None
    with results_on_stdout():
        content = template(*build(args), args)
    if path and path.is_file() and not is_units_file(path, units_in(content)):
        raise CompressionError(
            f'--output-path: {str(path)!r} exists and is no file of such units; name another'
        )
    text = json.dumps(content, indent=4)
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + '\n', encoding='utf-8')
        print(f'written to {path}', file=sys.stderr)
    else:
        print(text)


if __name__ == '__main__':
    run(main)
