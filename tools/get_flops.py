"""Count parameters and MACs of a model: dense, and compact as its config makes it.

Example:
    python tools/get_flops.py configs/pruning/mmcls/dcff/dcff_resnet50_8xb32_in1k.py --json
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import Any

import mmcompress  # noqa: F401

# isort: split
from mmengine.config import Config
from rich.console import Console
from torch import nn

from mmcompress.core.algorithm import CompressionAlgorithm, build_architecture
from mmcompress.core.errors import CompressionError
from mmcompress.core.export import dense_config
from mmcompress.core.subnet import is_sub_model, to_static
from mmcompress.engine.launch import (
    add_config_arguments,
    build_model,
    load_config,
    results_on_stdout,
    run,
)
from mmcompress.report import complexity_by_stage, print_table


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Count parameters and MACs')
    add_config_arguments(parser)
    parser.add_argument(
        '--shape',
        type=int,
        nargs='+',
        metavar='N',
        help="size of the image: side, or height and width; by default the config's flops_shape, "
        'else that of its test pipeline',
    )
    parser.add_argument('--json', action='store_true', help='print JSON instead of a table')
    return parser.parse_args()


def image_shape(cfg: Config, shape: Sequence[int] | None) -> tuple[int, int, int]:
    """``(3, height, width)``: as given, or as the config or its pipelines say.

    Raises:
        CompressionError: If the shape is no size of an image.
    """
    key, given = ('--shape', shape) if shape else ('flops_shape', cfg.get('flops_shape'))
    if given is not None:
        sides = [given] if isinstance(given, int) else given
        listed = isinstance(sides, (list, tuple))
        if (
            not listed
            or len(sides) not in (1, 2)
            or not all(isinstance(side, int) and side > 0 for side in sides)
        ):
            found = ' '.join(map(str, sides)) if listed else repr(given)
            raise CompressionError(f'{key} is {found}; give a side, or height and width')
        return (3, sides[0], sides[-1])
    size = _size_in_config(cfg)
    if size is None:
        raise CompressionError('the config says no image size; give one with --shape')
    return (3, *size)


def _size_in_config(cfg: Config) -> tuple[int, int] | None:
    """The size that images have when the model sees them, from the config's pipelines.

    The last transform that sets a size wins. Libraries write scales as (width, height), and
    mmseg writes crops as (height, width); other libraries' crops are square.
    """
    codec = cfg.get('codec')
    if isinstance(codec, dict) and codec.get('input_size'):
        width, height = codec['input_size']
        return height, width
    for loader in ('test_dataloader', 'val_dataloader', 'train_dataloader'):
        dataset = (cfg.get(loader) or {}).get('dataset') or {}
        if str(dataset.get('type', '')).endswith('DigitsClassification'):
            return (dataset.get('img_size', 32),) * 2
        if str(dataset.get('type', '')).split('.')[-1] in ('CIFAR10', 'CIFAR100'):
            return (32, 32)
        for step in reversed(dataset.get('pipeline') or []):
            size = step.get('crop_size') or step.get('scale')
            if isinstance(size, int):
                return size, size
            if size and all(isinstance(side, int) for side in size):
                return tuple(size) if step.get('crop_size') else (size[1], size[0])
    return None


def report(name: str, model: nn.Module, shape: tuple[int, int, int]) -> dict[str, Any]:
    """Figures of one model, with the breakdown by stage.

    What is counted is the forward pass without post-processing, or else the prediction of one
    image (mmseg's PointRend has no other that works).

    Raises:
        CompressionError: If the model runs neither.
    """
    failures = []
    for mode in ('tensor', 'predict'):
        try:
            stages = complexity_by_stage(model, shape, mode=mode)
        except Exception as error:  # whatever a user's model raises
            failures.append(f'{type(error).__name__}: {" ".join(str(error).split())}')
            continue
        params, macs = (sum(stage[key] for stage in stages) for key in ('params', 'macs'))
        return dict(model=name, params=params, macs=macs, mode=mode, stages=stages)
    raise CompressionError(
        f'{type(model).__name__} does not run on an image of {shape[1]} x {shape[2]} '
        f'({failures[0]}); give another size with --shape'
    )


def measure(cfg: Config, shape: tuple[int, int, int]) -> list[dict[str, Any]]:
    """The dense model, and the compact one where the config makes one."""
    model = build_model(cfg)
    preprocessor = cfg.get('data_preprocessor')
    if isinstance(model, CompressionAlgorithm):
        dense = build_architecture(dense_config(cfg), preprocessor)
        return [report('dense', dense, shape), report('compact', to_static(model), shape)]
    if is_sub_model(cfg.model):
        dense = build_architecture(cfg.model['cfg'], preprocessor)
        return [report('dense', dense, shape), report('compact', model, shape)]
    return [report('dense', model, shape)]


def main() -> None:
    args = parse_args()
    with results_on_stdout():
        cfg = load_config(args)
        shape = image_shape(cfg, args.shape)
        rows = measure(cfg, shape)
    if args.json:
        print(json.dumps(dict(shape=shape, models=rows), indent=2))
        return
    names = dict.fromkeys(stage['name'] for row in rows for stage in row['stages'])
    table = []
    for stage in [*names, 'total']:
        line: dict[str, Any] = {'stage': stage}
        for row in rows:
            found = next((s for s in row['stages'] if s['name'] == stage), None)
            part = row if stage == 'total' else found or dict(params=0, macs=0)
            line[f'{row["model"]} params'] = f'{part["params"] / 1e6:.3f}M'
            line[f'{row["model"]} MACs'] = f'{part["macs"] / 1e6:.2f}M'
        table.append(line)
    print_table(table, title=f'{args.config} at {"x".join(map(str, shape))}', console=Console())


if __name__ == '__main__':
    run(main)
