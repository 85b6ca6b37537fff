"""Train a published row, all stages and several seeds, and set its accuracy beside the paper's."""

from __future__ import annotations

import argparse
import copy
import json
import os
import statistics
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.device import get_device

from mmcompress.core.base.parts import whole_architecture
from mmcompress.core.errors import CompressionError
from mmcompress.report.table import markdown_table

from . import parse, program
from .launch import build_algorithm, load_config, read_config
from .options import give_json
from .public_data import check_data, move_data
from .rows import Row, accuracy_of, config_path
from .smoke import estimate, make_smoke, total_batch, write_data
from .staged_training import METRICS
from .stages import Stage, options_of, stages_of
from .training import train

#: What each metric is called, and what makes the published figure of it.
TITLES = {
    'accuracy/top1': ('top-1, %', 1),
    'coco/bbox_mAP': ('box AP, %', 100),
    'coco/AP': ('AP, %', 100),
    'mIoU': ('mIoU, %', 1),
    'PSNR': ('PSNR, dB', 1),
}

#: What the work dir of a row holds: whose it is, its configs, what came out.
MARK, RECIPE, RESULT = 'row.json', 'recipe', 'result'


def configs_of(row: Row, data: Path) -> dict[str, Config]:
    """The configs of a row's stages by name, as published, with the data in a folder.

    Raises:
        CompressionError: If the row's config is wrong.
    """
    path = config_path(row)
    stages = stages_of(path) or [Stage('train', path)]
    options = options_of(stages, dict(row.options))
    configs: dict[str, Config] = {}
    for stage in stages:
        configs[stage.name] = load_config(stage.content, row.compress, options[stage.name])
    if row.model == 'dense':
        configs = _dense_stage(configs)
    elif row.compress and _needs_weights(configs['train']):
        configs = {'dense': load_config(path), **configs}
    for cfg in configs.values():
        move_data(cfg, data)
    return configs


def _dense_stage(configs: dict[str, Config]) -> dict[str, Config]:
    """The training of a row's dense network: a stage of its own, or as the compressed network's."""
    for name, cfg in configs.items():
        if 'architecture' not in cfg.model:
            return {name: cfg}
    cfg = next(iter(configs.values()))
    cfg.model = whole_architecture(cfg.model)
    return {'train': cfg}


def _needs_weights(cfg: Config) -> bool:
    """Whether a method can't train from scratch, and the config names no weights to start from."""
    if cfg.get('load_from'):
        return False
    try:
        build_algorithm(cfg).check_start(loads=False)
    except CompressionError:
        return True
    return False


def reproduce(row: Row, args: argparse.Namespace) -> dict[str, Any]:
    """Train, export and evaluate a row; go on where an earlier run stopped.

    Args:
        row: What to train.
        args: See :mod:`mmcompress.cli.reproduce`.

    Returns:
        What the work dir has as ``result.json``.

    Raises:
        CompressionError: If data are missing, or the work dir is another row's.
    """
    work_dir = Path(args.work_dir or default_work_dir(row, args.smoke))
    mark = dict(system=row.system, row=row.row, smoke=args.smoke, gpus=args.gpus or 1)
    _check_mark(work_dir, mark)
    if args.smoke:
        configs, expected = _smoke_configs(row, work_dir)
    else:
        _check_machine(args)
        configs, expected = configs_of(row, Path(args.data).resolve()), {}
        check_data(list(configs.values()))
        _divide(configs, args.gpus or 1)
        if get_device() == 'cpu' and not args.slurm:
            _announce(row, args, work_dir)
    give_json(mark, str(work_dir / MARK))
    recipe = _write_recipe(configs, work_dir / RECIPE)
    started = time.perf_counter()
    found = {}
    for seed in args.seeds:
        folder = work_dir / f'seed{seed}'
        metrics = folder / METRICS
        if not metrics.is_file():
            _train(recipe, folder, seed, args)
        found[seed] = json.loads(metrics.read_text(encoding='utf-8'))
    result = summary(row, found)
    result.update(smoke=args.smoke, seconds=time.perf_counter() - started)
    if args.smoke:
        first = work_dir / f'seed{args.seeds[0]}'
        result['estimate'] = estimate(expected, first)
    give_json(result, str(work_dir / f'{RESULT}.json'))
    (work_dir / f'{RESULT}.md').write_text(text_of(table_rows([result]), True), encoding='utf-8')
    return result


def default_work_dir(row: Row, smoke: bool = False) -> Path:
    """Where a row is trained by default."""
    name = ''.join(letter if letter.isalnum() or letter in '.-' else '-' for letter in row.row)
    return Path('work_dirs', 'smoke' if smoke else 'reproduce', row.system, name)


def _check_mark(work_dir: Path, mark: dict[str, Any]) -> None:
    path = work_dir / MARK
    if not path.is_file():
        return
    before = json.loads(path.read_text(encoding='utf-8'))
    if before != mark:
        key = next(key for key in mark if before.get(key) != mark[key])
        raise CompressionError(
            f'--work-dir: {str(work_dir)!r} is of another run, whose {key} is '
            f'{before.get(key)!r} and not {mark[key]!r}; name another folder'
        )


def _check_machine(args: argparse.Namespace) -> None:
    if args.data is None:
        raise CompressionError(
            '--data is missing; it has to be the folder that holds cifar10, imagenet, coco, '
            'cityscapes, DIV2K or what else the row trains on'
        )
    if not args.slurm and (args.gpus or 0) > max(1, torch.cuda.device_count()):
        raise CompressionError(
            f'--gpus is {args.gpus}; this machine has {torch.cuda.device_count()}'
        )


def _divide(configs: dict[str, Config], processes: int) -> None:
    """Share the published batch among processes."""
    for name, cfg in configs.items():
        total = total_batch(cfg)
        if total % processes:
            raise CompressionError(
                f'--gpus is {processes}; it has to divide the batch of {total} images of the '
                f'stage {name!r}'
            )
        cfg.train_dataloader.batch_size = total // processes


def _smoke_configs(row: Row, work_dir: Path) -> tuple[dict[str, Config], dict[str, Config]]:
    """The stages of a smoke, and those of the recipe."""
    data = (work_dir / 'data').resolve()
    published = configs_of(row, data)
    small = copy.deepcopy(published)
    write_data(list(small.values()), data)
    small = make_smoke(small)
    check_data([cfg for cfg in small.values() if 'data_root' in cfg.train_dataloader.dataset])
    return small, published


def _announce(row: Row, args: argparse.Namespace, work_dir: Path) -> None:
    """Say how long a CPU will take."""
    smoke = argparse.Namespace(
        **{**vars(args), 'smoke': True, 'work_dir': str(work_dir / 'smoke'), 'seeds': [0]}
    )
    hours = reproduce(row, smoke)['estimate']['hours'] * len(args.seeds)
    print(
        f'there is no GPU: on this CPU the training will take about {duration(hours)}',
        file=sys.stderr,
    )


def _write_recipe(configs: dict[str, Config], folder: Path) -> Path:
    """Write the stages as configs, and one that lists them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, cfg in configs.items():
        cfg.dump(str(folder / f'{name}.py'))
    recipe = folder / 'recipe.py'
    lines = [f'    dict(name={name!r}, config={f"{name}.py"!r}),\n' for name in configs]
    recipe.write_text(f'stages = [\n{"".join(lines)}]\n', encoding='utf-8')
    read_config(str(recipe))
    return recipe


def _train(recipe: Path, folder: Path, seed: int, args: argparse.Namespace) -> None:
    """Train all stages with a seed, export and evaluate, here or by a launcher.

    Raises:
        CompressionError: If a launcher reports a failure.
    """
    options = ['--resume', '--cfg-options', f'randomness.seed={seed}']
    place = ['--work-dir', str(folder)]
    processes = args.gpus or 1
    if args.smoke or (processes == 1 and not args.slurm):
        train(parse(import_module('mmcompress.cli.train'), [str(recipe), *place, *options]))
        return
    tools = next(path for path in program.TOOLS if path.is_dir())
    environment = dict(os.environ, PYTHON=sys.executable)
    if args.slurm:
        job = f'{args.system}-{seed}'
        command = [str(tools / 'slurm_train.sh'), args.slurm, job, str(recipe), str(folder)]
        environment['GPUS'] = str(processes)
    else:
        command = [str(tools / 'dist_train.sh'), str(recipe), str(processes), *place]
    done = subprocess.run(['sh', *command, *options], env=environment, check=False)
    if done.returncode:
        raise CompressionError(
            f'seed {seed}: {Path(command[0]).name} ended with status {done.returncode}; the same '
            'command goes on where it stopped'
        )


def summary(row: Row, found: dict[int, dict[str, float]]) -> dict[str, Any]:
    """What came out, beside what was published.

    Args:
        row: What was trained.
        found: Metrics of the exported network by seed.
    """
    keys = list(dict.fromkeys(key for metrics in found.values() for key in metrics))
    metric = next((key for key in TITLES if key in keys), next(iter(keys), ''))
    title, factor = TITLES.get(metric, (metric, 1))
    # A detector that finds nothing has no metric.
    seeds = {
        str(seed): factor * metrics[metric] if metric in metrics else None
        for seed, metrics in found.items()
    }
    values = [value for value in seeds.values() if value is not None]
    published = accuracy_of(row)
    mean = statistics.fmean(values) if values else None
    return dict(
        system=row.system,
        row=row.row,
        config=row.config,
        metric=title,
        published=published,
        source=row.source,
        mean=mean,
        deviation=statistics.stdev(values) if len(values) > 1 else None,
        difference=None if published is None or mean is None else mean - published,
        seeds=seeds,
    )


def table_rows(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Results as rows of a table, with a column for each seed."""

    def figure(value: float | None) -> str:
        return '' if value is None else f'{value:.2f}'

    return [
        dict(
            system=result['system'],
            row=result['row'],
            metric=result['metric'],
            published=figure(result['published']),
            ours=figure(result['mean']),
            deviation=figure(result['deviation']),
            **{f'seed {seed}': figure(value) for seed, value in result['seeds'].items()},
        )
        for result in results
    ]


def description(row: Row) -> dict[str, str]:
    """A row in a list of rows."""
    accuracy = accuracy_of(row)
    return dict(
        system=row.system,
        row=row.row,
        network=row.network,
        accuracy='' if accuracy is None else f'{accuracy:g}',
        config=str(row.config),
    )


def text_of(rows: list[dict[str, str]], markdown: bool) -> str:
    """Rows with the same keys as a table, for the terminal or in Markdown."""
    if not rows:
        return ''
    cells = [list(row.values()) for row in rows]
    if markdown:
        return markdown_table(rows[0], cells) + '\n'
    lines = [list(rows[0]), *cells]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return ''.join('  '.join(map(str.ljust, line, widths)).rstrip() + '\n' for line in lines)


def duration(hours: float) -> str:
    """Hours in a unit that suits them."""
    if hours < 1:
        return f'{60 * hours:.0f} minutes'
    return f'{hours:.0f} hours' if hours < 72 else f'{hours / 24:.0f} days'
