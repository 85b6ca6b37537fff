"""List the channel units of a model: what can be made narrower, and under which name.

Example:
    python tools/get_channel_units.py configs/pruning/mmcls/dcff/dcff_resnet50_8xb32_in1k.py \
        -c -i --output-path=resnet_cls.json
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import mmcompress  # noqa: F401
from mmcompress.core.algorithm import CompressionAlgorithm
from mmcompress.core.analyzer import DependencyAnalyzer
from mmcompress.engine.launch import (
    add_config_arguments,
    build_model,
    load_config,
    results_on_stdout,
    run,
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='List the channel units of a model')
    add_config_arguments(parser)
    parser.add_argument(
        '-c', '--with-channel', action='store_true', help='with the channels of every unit'
    )
    parser.add_argument(
        '-i', '--with-init-args', action='store_true', help='with the arguments of every unit'
    )
    parser.add_argument(
        '--choice', action='store_true', help='keep ratios by name only; -c and -i are ignored'
    )
    parser.add_argument('-o', '--output-path', help='write to this file instead of the terminal')
    return parser.parse_args()


def template(model: object, args: argparse.Namespace) -> dict:
    """The units, in the shape of a mutator's config or as keep ratios."""
    if isinstance(model, CompressionAlgorithm):
        mutator = model.mutator
        if args.choice:
            return mutator.choice_template
        return mutator.config_template(args.with_init_args, args.with_channel)
    units = DependencyAnalyzer().analyze(model).units
    if args.choice:
        return dict.fromkeys(units, 1.0)
    wanted = {'init_args': args.with_init_args, 'channels': args.with_channel}
    return dict(
        channel_unit_cfg=dict(
            units={
                name: {
                    **{key: part for key, part in unit.as_dict().items() if wanted[key]},
                    'choice': 1.0,
                }
                for name, unit in units.items()
            }
        ),
        parse_cfg=dict(type='DependencyAnalyzer'),
    )


def main() -> None:
    args = parse_args()
    with results_on_stdout():
        text = json.dumps(template(build_model(load_config(args)), args), indent=4)
    if args.output_path:
        path = Path(args.output_path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + '\n', encoding='utf-8')
        print(f'written to {path}', file=sys.stderr)
    else:
        print(text)


if __name__ == '__main__':
    run(main)
