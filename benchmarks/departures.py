"""What each way gives where a method departs from its authors' program: trained on the digits.

A study is a config of ``configs/demo``, or several that start from one another, and some ways to
train it; the first way is ours. Every way is trained with every seed; what is alike in two
ways, such as a dense network in front, is trained once. What is in the file of ``--json`` is not
trained again.

Example:
    OMP_NUM_THREADS=1 python benchmarks/departures.py fcf --json work_dirs/departures.json
    OMP_NUM_THREADS=1 python benchmarks/departures.py --size 16 --json work_dirs/departures.json
"""

from __future__ import annotations

import argparse
import copy
import json
import logging
import math
import re
import statistics
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import mmcompress  # noqa: F401

# isort: split
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmcompress.cli.options import give_json
from mmcompress.core.export.static import to_static

DEMO = Path(__file__).resolve().parents[1] / 'configs/demo'


@dataclass
class Study:
    """Configs that start from one another, and options for those that compress, by way."""

    stages: list[str]
    ways: dict[str, dict[str, Any]]
    dense: str = ''
    #: More options of the last stage alone, by way.
    last: dict[str, dict[str, Any]] = field(default_factory=dict)
    #: Options of all ways.
    common: dict[str, Any] = field(default_factory=dict)


_UNITS = 'mutator_cfg.filter_unit_cfg.default_args'
STUDIES = {
    'fcf': Study(
        ['fcf_resnet20_digits_factorize', 'fcf_resnet20_digits_finetune'],
        {
            'ours': {},
            'cut_inputs=True': {'mutator_cfg.cut_inputs': True},
            "scale='weight'": {'mutator_cfg.scale': 'weight'},
            "faithful=True, rounding='exact'": {'faithful': True},
            'faithful=True': {'faithful': True},
        },
        last={"faithful=True, rounding='exact'": {'rounding': 'exact'}},
        dense='dense_resnet20_digits',
    ),
    'filter_basis': Study(
        ['filter_basis_resnet20_b24_digits'], {'ours': {}, 'faithful=True': {'faithful': True}}
    ),
    'shared_basis_single': Study(
        ['shared_basis_resnet20_s8u1_digits'],
        {
            'unique=False': {'orthogonality_terms.unique': False},
            'faithful=True (unique=True)': {'faithful': True},
        },
    ),
    'shared_basis_double': Study(
        ['shared_basis_resnet20_s8u1_digits'],
        {
            'unique=False, joint=False': {'orthogonality_terms.unique': False},
            'unique=False, joint=True': {
                'orthogonality_terms.unique': False,
                'orthogonality_terms.joint': True,
            },
            "unique='cross', joint='separate'": {
                'orthogonality_terms.unique': 'cross',
                'orthogonality_terms.joint': 'separate',
            },
            'faithful=True (unique=True, joint=True)': {'faithful': True},
        },
        common={'mutator_cfg.parse_cfg.by_position': True},
    ),
    'linear_conv': Study(
        ['linear_conv_resnet20_linear_digits'],
        {'ours': {}, "faithful=True (start='uniform')": {'faithful': True}},
        # Either the number of primary filters or the start is free, not both.
        common={f'{_UNITS}.primary_ratio': 0.5, 'target_pruning_ratio': None},
    ),
    'linear_conv_sparse': Study(
        ['linear_conv_resnet20_sparse_digits'],
        {
            'ours': {},
            'count_evaluation=True': {'count_evaluation': True},
            'faithful=True': {'faithful': True},
        },
    ),
}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('studies', nargs='*', metavar='STUDY', help=', '.join(STUDIES))
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument('--size', type=int, default=32, help='side of the images')
    parser.add_argument('--epochs', type=int, help='of every stage; by default as the config says')
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/departures'))
    parser.add_argument('--json', type=Path, help='write results there, and read what it has')
    args = parser.parse_args()
    for name in args.studies:
        if name not in STUDIES:
            parser.error(f'{name!r} is no study; they are {", ".join(STUDIES)}')
    return args


@cache
def read(name: str) -> Config:
    """A config of the demo."""
    return Config.fromfile(DEMO / f'{name}.py')


def config_of(name: str, options: dict[str, Any], args: argparse.Namespace, seed: int) -> Config:
    """A config of the demo with options of its model, at the size that was asked for."""
    cfg = copy.deepcopy(read(name))
    cfg.merge_from_dict({f'model.{key}': value for key, value in options.items()})
    cfg.randomness.seed = seed
    cfg.log_level = 'WARNING'
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.dataset.img_size = args.size
    crop = cfg.train_dataloader.dataset.pipeline[0]
    crop.update(crop_size=args.size, padding=round(crop.padding * args.size / crop.crop_size))
    if args.epochs:
        cfg.train_cfg.max_epochs = args.epochs
    return cfg


class Before(Hook):
    """Notes the accuracy of what training starts from, once it is loaded and settled."""

    # After CompressionHook, which settles.
    priority = 'LOW'
    accuracy = 0.0

    def before_train(self, runner: Runner) -> None:
        """Evaluate once."""
        self.accuracy = runner.val_loop.run()['accuracy/top1']


def train(cfg: Config, folder: Path, start: str | None) -> dict[str, Any]:
    """Train once: the accuracy at first and at last, parameters once exported, the checkpoint."""
    cfg.work_dir, cfg.load_from = str(folder), start
    cfg.experiment_name = folder.as_posix().replace('/', '_')
    runner = Runner.from_cfg(cfg)
    before = Before()
    runner.register_hook(before)
    runner.train()
    found = dict(accuracy=round(runner.val_loop.run()['accuracy/top1'], 2))
    if start:
        found['accuracy before'] = round(before.accuracy, 2)
    model = runner.model
    if hasattr(model, 'mutator') and not model.unfinished():
        model = to_static(model)
        found['parameters'] = sum(p.numel() for p in model.parameters())
    found['checkpoint'] = (folder / 'last_checkpoint').read_text()
    logging.shutdown()
    return found


def once(key: str, done: dict[str, Any], args: argparse.Namespace, make: Any) -> dict[str, Any]:
    """The result of a training; it is trained if there is none."""
    if key not in done:
        done[key] = make()
        give_json(done, args.json)
    return done[key]


def run(name: str, args: argparse.Namespace, done: dict[str, Any]) -> dict[str, list[dict]]:
    """All trainings of a study, by way and in the order of the seeds."""
    study = STUDIES[name]
    length = f', {args.epochs} epochs' if args.epochs else ''
    rows: dict[str, list[dict]] = {way: [] for way in study.ways}
    for seed in args.seeds:
        setting = f'size {args.size}{length}, seed {seed}'

        def result_of(
            config: str,
            options: dict[str, Any],
            start: str | None,
            seed: int = seed,
            setting: str = setting,
        ) -> dict[str, Any]:
            key = ', '.join([config, *(f'{k}={v}' for k, v in options.items()), setting])
            folder = args.work_dir / re.sub(r'[^\w.]+', '-', key)
            return once(
                key,
                done,
                args,
                lambda: train(config_of(config, options, args, seed), folder, start),
            )

        dense = result_of(study.dense, {}, None) if study.dense else {}
        for way, options in study.ways.items():
            result = dense
            for stage in study.stages:
                own = {**study.common, **options}
                if stage == study.stages[-1]:
                    own |= study.last.get(way, {})
                result = result_of(stage, own, result.get('checkpoint'))
            rows[way].append(result)
            print(f'{name}: {way}, seed {seed}: {result["accuracy"]:.2f}', flush=True)
    return rows


def half_width(values: list[float]) -> float:
    """Half the 95 % interval of a mean, by Student's t."""
    from scipy.stats import t

    n = len(values)
    return float(t.ppf(0.975, n - 1)) * statistics.stdev(values) / math.sqrt(n) if n > 1 else 0.0


def shown(values: list[float], sign: str = '') -> str:
    """A mean, and its interval."""
    return f'{statistics.mean(values):{sign}.2f} ± {half_width(values):.2f}'


def show(name: str, rows: dict[str, list[dict]]) -> None:
    """Print a study as a table in Markdown: a line a way."""
    print(f'\n{name}\n')
    print('| way | top-1 | each seed | less the first way | before the last stage | parameters |')
    print('| --- | --- | --- | --- | --- | --- |')
    first = [row['accuracy'] for row in next(iter(rows.values()))]
    for index, (way, results) in enumerate(rows.items()):
        values = [row['accuracy'] for row in results]
        # Of the same seed, so that what seeds do to both ways is no part of the interval.
        gaps = [value - other for value, other in zip(values, first, strict=True)]
        before = [row['accuracy before'] for row in results if 'accuracy before' in row]
        columns = [
            f'`{way}`',
            shown(values),
            listed(values),
            shown(gaps, '+') if index else '',
            listed(before),
            ' to '.join(f'{n:,}' for n in sorted({row['parameters'] for row in results})),
        ]
        print(f'| {" | ".join(columns)} |', flush=True)


def listed(values: list[float]) -> str:
    """Percentages, one after another."""
    return ', '.join(f'{value:.2f}' for value in values)


def main() -> None:
    args = parse_args()
    done = json.loads(args.json.read_text()) if args.json and args.json.is_file() else {}
    found = {name: run(name, args, done) for name in args.studies or STUDIES}
    for name, rows in found.items():
        show(name, rows)


if __name__ == '__main__':
    main()
