"""All methods on one network: trained, exported, and what a user would run compared."""

from __future__ import annotations

import argparse
import hashlib
import warnings
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from rich.console import Console
from torch import nn

from mmcompress.core.base.build import build_model, init_scope
from mmcompress.core.export.checkpoint import load_into
from mmcompress.report import (
    compare_latency,
    complexity,
    print_table,
    summary_plot,
    write_json,
)
from mmcompress.version import __version__

from .exporting import export_checkpoint
from .launch import shipped_configs
from .runner import ToolRunner
from .stages import Stage, stages_of

CONFIGS = shipped_configs() / 'demo'
SUFFIX = '_resnet20_digits.py'
IMAGE = (3, 32, 32)
BATCH = 64

console = Console()


class QuietRunner(ToolRunner):
    """A runner that doesn't print its whole config and list of hooks; the work dir has both."""

    quiet = True


def methods() -> dict[str, Path]:
    """Demo configs by method, the dense network first."""
    found = {path.name.removesuffix(SUFFIX): path for path in sorted(CONFIGS.glob(f'*{SUFFIX}'))}
    return {'dense': found.pop('dense'), **found}


def train(cfg: Config, name: str) -> Path:
    """Train a config, or find its finished training; returns the last checkpoint."""
    work_dir = Path(cfg.work_dir)
    checkpoint = work_dir / f'epoch_{cfg.train_cfg.max_epochs}.pth'
    stamp = work_dir / 'finished'
    made_from = hashlib.sha256((__version__ + cfg.pretty_text).encode())
    if cfg.load_from:
        made_from.update(Path(cfg.load_from).read_bytes())
    digest = made_from.hexdigest()
    if checkpoint.is_file() and stamp.is_file() and stamp.read_text() == digest:
        console.rule(f'{name}: already trained, {checkpoint}')
        return checkpoint
    console.rule(f'{name}: training {cfg.train_cfg.max_epochs} epochs')
    stamp.unlink(missing_ok=True)
    QuietRunner.from_cfg(cfg).train()
    stamp.write_text(digest)
    return checkpoint


def to_plain(cfg: Config, checkpoint: Path, name: str) -> tuple[Config, Path, nn.Module]:
    """What a user would run of a training: config, checkpoint and model of plain layers.

    The checkpoint holds weights and nothing of the training, of the dense network too: so files
    can be compared.
    """
    if 'architecture' not in cfg.model:
        model = build_model(cfg)
        load_into(model, checkpoint)
        weights = checkpoint.parent / 'weights.pth'
        torch.save(dict(state_dict=model.state_dict()), weights)
        return cfg, weights, model
    console.rule(f'{name}: exporting')
    result = export_checkpoint(
        cfg, checkpoint, checkpoint.parent / 'export', batches=None, overwrite=True
    )
    console.print(
        f'{result["config"]}: differs from the trained model by at most '
        f'{result["max_difference"]:.2g} on random images and all {result["batches"]} batches '
        'of the test split'
    )
    static = Config.fromfile(result['config'])
    model = build_model(static)
    load_into(model, result['checkpoint'])
    return static, Path(result['checkpoint']), model


def top1(cfg: Config, checkpoint: Path, work_dir: Path) -> float:
    """Accuracy on the test split, in percent, by the config's own evaluator."""
    cfg = cfg.copy()
    cfg.load_from, cfg.work_dir = str(checkpoint), str(work_dir / 'test')
    return float(QuietRunner.from_cfg(cfg).test()['accuracy/top1'])


def train_method(
    name: str, path: Path, args: argparse.Namespace, trained: dict[str, Path]
) -> tuple[Config, Path]:
    """Run the training of a method, or its several stages; returns config and checkpoint.

    Args:
        name: Of the method.
        path: Its config.
        args: Of the command line.
        trained: Checkpoints by text of the config; a stage that another method has run is not
            run again.
    """
    work_dir = Path(args.work_dir) / name
    checkpoint: Any = None
    whole = Stage(name, str(path))
    stages = stages_of(str(path), whole.content)
    for stage in stages or [whole]:
        cfg = stage.content
        cfg.merge_from_dict(stage.cfg_options)
        if args.epochs:
            cfg.train_cfg.max_epochs = args.epochs
        if checkpoint:
            cfg.load_from = str(checkpoint)
        text = cfg.pretty_text
        if text not in trained:
            cfg.work_dir = str(work_dir / stage.name if stages else work_dir)
            init_scope(cfg)
            trained[text] = train(cfg, f'{name}, {stage.name}' if stages else name)
        checkpoint = trained[text]
    return cfg, checkpoint


def measure_method(
    name: str, path: Path, args: argparse.Namespace, trained: dict[str, Path]
) -> dict[str, Any]:
    """Train, export and evaluate one method; returns its row and, as ``model``, the network."""
    work_dir = Path(args.work_dir) / name
    cfg, checkpoint = train_method(name, path, args, trained)
    static, static_checkpoint, model = to_plain(cfg, checkpoint, name)
    figures = complexity(model, IMAGE)
    return dict(
        method=name,
        top1=top1(static, static_checkpoint, work_dir),
        file_bytes=static_checkpoint.stat().st_size,
        params=figures['params'],
        macs=figures['macs'],
        latency_ms=None,
        checkpoint=str(checkpoint),
        static_checkpoint=str(static_checkpoint),
        model=model,
    )


def compare_all(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Run all methods and print a table; returns its rows, which the work dir has as well."""
    warnings.filterwarnings('ignore')  # of old libraries, about each other
    trained: dict[str, Path] = {}
    rows = [measure_method(name, path, args, trained) for name, path in methods().items()]
    console.rule('latency, all models in turn')
    timed = compare_latency(
        {row['method']: row.pop('model') for row in rows}, torch.randn(BATCH, *IMAGE)
    )
    for row, time in zip(rows, timed, strict=True):
        row['latency_ms'] = time['median_ms']
        row['latency_iqr_ms'] = time['iqr_ms']
        row['latency_ratio'] = time['ratio']
    out = Path(args.work_dir)
    write_json(rows, out / 'summary.json')
    title = 'ResNet-20 on handwritten digits'
    pictures = {'light': out / 'summary.png', 'dark': out / 'summary-dark.png'}
    for theme, picture in pictures.items():
        summary_plot(rows, picture, title=title, theme=theme)
    shown = dict(
        method='method',
        top1='top1',
        file_bytes='bytes',
        params='params',
        macs='macs',
        latency_ms='ms',
        latency_ratio='of dense',
    )
    print_table(
        [{name: row[key] for key, name in shown.items()} for row in rows],
        title=f'{title} (ms for a batch of {BATCH} on {torch.get_num_threads()} CPU threads)',
    )
    console.print(f'written: {", ".join(map(str, (out / "summary.json", *pictures.values())))}')
    return rows
