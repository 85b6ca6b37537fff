"""Sizes of files: the dense network, its export by each method, and the training's checkpoints.

Weights are random, which changes no size but that of masks: a mask has as many bits, and of what it
hides nothing is stored. A checkpoint is one as mmengine writes it, with the state of the config's
optimizer after a step.

Example:
    python benchmarks/file_sizes.py
    python benchmarks/file_sizes.py --models resnet18 --json sizes.json
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import mmcompress  # noqa: F401

# isort: split
import torch
from mmengine.config import Config, ConfigDict
from mmengine.optim import build_optim_wrapper
from rich.console import Console
from torch import nn

from mmcompress.cli.exporting import export_checkpoint
from mmcompress.cli.launch import (
    build_algorithm,
    load_config,
    results_on_stdout,
    run,
    shipped_configs,
)
from mmcompress.cli.options import add_json_argument, give_json, prints_json, separate_json
from mmcompress.core.base.algorithm import Clock, CompressionAlgorithm
from mmcompress.core.base.build import build_architecture, build_model
from mmcompress.core.export.checkpoint import slim
from mmcompress.core.export.export import dense_config
from mmcompress.report import print_table
from mmcompress.report.table import progress_bar

#: Dense configs, and the network in the names of their method files; the demo has whole configs.
MODELS = dict(
    resnet20=('', ''),
    resnet18=('mmpretrain::resnet/resnet18_8xb32_in1k.py', 'r18'),
    resnet50=('mmpretrain::resnet/resnet50_8xb32_in1k.py', 'r50'),
    faster_rcnn=('mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py', 'r50'),
)
TITLES = dict(
    resnet20='ResNet-20, digits',
    resnet18='ResNet-18',
    resnet50='ResNet-50',
    faster_rcnn='Faster R-CNN R50',
)
#: Methods, and their configs of the demo's ResNet-20.
METHODS = dict(
    dcff='dcff_resnet20_digits.py',
    fcf='fcf_resnet20_digits_factorize.py',
    filter_basis='filter_basis_resnet20_digits_finetune.py',
    shared_basis='shared_basis_resnet20_digits_finetune.py',
    linear_conv='linear_conv_resnet20_digits_finetune.py',
    magnitude='magnitude_resnet20_digits_finetune.py',
)
MB = 1e6


def config_of(model: str, method: str) -> Config:
    """The config of a method on a model, whose training starts from random weights."""
    if model == 'resnet20':
        cfg = load_config(shipped_configs() / 'demo' / METHODS[method])
    else:
        config, network = MODELS[model]
        cfg = load_config(config, compress=f'{method}_{network}')
    if 'init' in cfg.model:
        cfg.model.init = 'kaiming'
    return cfg


def finish(algorithm: CompressionAlgorithm) -> None:
    """Do what a training does on its way to an export."""
    algorithm.settle()
    algorithm.tick(Clock(0, 0, 1, 1, True))
    if algorithm.unfinished():  # FCF: scalars, which training would make binary
        for scalars in algorithm.scalars:
            nn.init.uniform_(scalars)
        algorithm.binarize()


def write_checkpoint(model: nn.Module, optim_wrapper: ConfigDict | None, path: Path) -> None:
    """A checkpoint with the state that the optimizer has after a step."""
    config = optim_wrapper or dict(optimizer=dict(type='SGD', lr=0.1, momentum=0.9))
    optimizer = build_optim_wrapper(model, config)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    content = dict(meta={}, state_dict=model.state_dict(), optimizer=optimizer.state_dict())
    torch.save(content, path)


def measure(model: str, method: str) -> dict[str, Any]:
    """One row of the table, sizes in bytes."""
    torch.manual_seed(0)
    cfg = config_of(model, method)
    algorithm = build_algorithm(cfg)
    dense = build_architecture(dense_config(cfg), cfg.get('data_preprocessor'))
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: Path(folder, f'{name}.pth') for name in ('dense', 'checkpoint', 'slim')}
        torch.save(dict(meta={}, state_dict=dense.state_dict()), paths['dense'])
        finish(algorithm)
        write_checkpoint(algorithm, cfg.get('optim_wrapper'), paths['checkpoint'])
        parts = slim(paths['checkpoint'], paths['slim'])
        exported = export_checkpoint(cfg, paths['checkpoint'], Path(folder, 'export'), batches=0)
        static = build_model(Config.fromfile(exported['config']))
        sizes = {f'{name}_bytes': path.stat().st_size for name, path in paths.items()}
    stored = 4 * sum(p.numel() for p in (algorithm.counted() or static).parameters())
    compact = exported['checkpoint_bytes']
    return dict(
        model=model,
        method=method,
        **sizes,
        compact_bytes=compact,
        stored_bytes=stored,
        ratio=compact / stored,
        within=compact <= 1.02 * stored + 64e3,
        optimizer_bytes=parts.get('optimizer', 0),
    )


def shown(row: dict[str, Any]) -> dict[str, str]:
    """A row as the terminal shows it."""
    mb = {key: f'{row[f"{key}_bytes"] / MB:.2f}' for key in ('dense', 'compact', 'stored')}
    mb |= {key: f'{row[f"{key}_bytes"] / MB:.2f}' for key in ('checkpoint', 'optimizer', 'slim')}
    return {
        'model': TITLES[row['model']],
        'method': row['method'],
        'dense MB': mb['dense'],
        'compact MB': mb['compact'],
        '4 B x stored': mb['stored'],
        'ratio': f'{row["ratio"]:.3f}',
        'within 2 % + 64 kB': 'yes' if row['within'] else 'NO',
        'checkpoint MB': mb['checkpoint'],
        'of that, optimizer': mb['optimizer'],
        'slim MB': mb['slim'],
    }


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Sizes of files, by method and model')
    parser.add_argument('--models', nargs='+', choices=list(MODELS), default=list(MODELS))
    parser.add_argument('--methods', nargs='+', choices=list(METHODS), default=list(METHODS))
    add_json_argument(parser)
    return parser.parse_args(separate_json(sys.argv[1:]))


def main() -> None:
    args = parse_args()
    pairs = [(model, method) for model in args.models for method in args.methods]
    with results_on_stdout(), progress_bar() as bar:
        rows = [measure(*pair) for pair in bar.track(pairs, description='exporting')]
    give_json(rows, args.json)
    if not prints_json(args.json):
        print_table([shown(row) for row in rows], console=Console(width=160))


if __name__ == '__main__':
    run(main)
