"""Run the analyzer over the ResNet-family configs of the OpenMMLab libraries.

A config counts when verified units cover 90 % of its backbone's convolution widths and the model,
all units narrowed to one half at once, still runs its loss and predict on a demo batch. Every model
is checked in a process of its own; configs that build the same model share the check.

Example:
    python tools/analysis_coverage.py --sample 100 --seed 1 --json work_dirs/coverage.json
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import multiprocessing
import random
import statistics
import sys
import time
import traceback
from collections import defaultdict
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import torch

import mmcompress  # noqa: F401

# isort: split
from mmengine.logging import MMLogger
from mmengine.utils import import_modules_from_strings
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from mmcompress.core.errors import CompressionError
from mmcompress.engine.launch import build_model, init_scope, run
from mmcompress.report import coverage, print_table


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Check the analyzer on the libraries' configs")
    parser.add_argument('--lib', nargs='+', default=list(coverage.LIBRARIES), help='libraries')
    parser.add_argument('--pattern', default='*', help='shell pattern for lib::path/to/config.py')
    parser.add_argument('--sample', type=int, help='check this many configs, drawn at random')
    parser.add_argument('--seed', type=int, default=0, help='of the draw')
    parser.add_argument('--json', help='write records here; those already there are kept')
    parser.add_argument('--jobs', type=int, default=2, help='processes at a time')
    parser.add_argument('--timeout', type=float, default=180, help='seconds for one model')
    parser.add_argument('--quiet', action='store_true', help='the summary only')
    return parser.parse_args()


def chosen(args: argparse.Namespace) -> dict[str, list[tuple[str, str]]]:
    """Configs to check, with their backbones, by what their models have in common."""
    for lib in args.lib:
        if lib not in coverage.LIBRARIES:
            raise CompressionError(f'--lib: {lib!r} is none of {", ".join(coverage.LIBRARIES)}')
    names = [name for lib in args.lib for name in coverage.config_names(lib)]
    names = [name for name in names if fnmatch.fnmatch(name, f'*{args.pattern}*')]
    family = []
    with progress() as bar:
        for name in bar.track(names, description='reading configs'):
            try:
                cfg = coverage.read_library_config(name)
            except Exception as error:  # configs that the libraries ship broken
                print(f'left out: {name}: {type(error).__name__}: {error}', file=sys.stderr)
                continue
            backbones = coverage.family_backbones(cfg.get('model'))
            if backbones:
                family.append((coverage.fingerprint(cfg), name, ' '.join(backbones)))
    if not family:
        raise CompressionError(f'--pattern: {args.pattern!r} matches no ResNet-family config')
    if args.sample is not None and args.sample < len(family):
        family = sorted(random.Random(args.seed).sample(family, args.sample), key=lambda f: f[1])
    groups = defaultdict(list)
    for key, name, backbones in family:
        groups[key].append((name, backbones))
    return groups


def progress() -> Progress:
    return Progress(
        TextColumn('{task.description}'),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
    )


def check_one(name: str, backbone: str, pipe: Any) -> None:
    """Body of a child process: one config, its record into the pipe."""
    record = coverage.Record(name, backbone=backbone)
    try:
        torch.set_num_threads(1)
        MMLogger.get_instance('mmengine', log_level='ERROR')
        cfg = coverage.read_library_config(name)
        if cfg.get('custom_imports'):
            import_modules_from_strings(**cfg.custom_imports)
        init_scope(cfg)
        cfg.model = coverage.without_checkpoints(cfg.model)
        record = coverage.check(name, build_model(cfg), backbone)
    except Exception as error:  # whatever a library's model raises
        record.reason = ' '.join(f'{type(error).__name__}: {error}'.split())[:300]
        if not isinstance(error, CompressionError):
            where = traceback.extract_tb(error.__traceback__)[-1]
            record.reason += f' ({Path(where.filename).name}:{where.lineno})'
    pipe.send(record.as_dict())


def check_all(todo: list[tuple[str, str]], jobs: int, timeout: float) -> Any:
    """Records of the configs, in the order in which they are done."""
    context = multiprocessing.get_context('fork')
    running: dict[Any, tuple[Any, str, str, float]] = {}
    queue = list(reversed(todo))
    while queue or running:
        while queue and len(running) < jobs:
            name, backbone = queue.pop()
            ours, theirs = context.Pipe(duplex=False)
            child = context.Process(target=check_one, args=(name, backbone, theirs), daemon=True)
            child.start()
            theirs.close()
            running[ours] = child, name, backbone, time.monotonic()
        for pipe in wait(list(running), timeout=1):
            child, name, backbone, _ = running.pop(pipe)
            try:
                record = pipe.recv()
            except EOFError:
                child.join()
                reason = f'the process ended with status {child.exitcode}'
                record = coverage.Record(name, backbone=backbone, reason=reason).as_dict()
            child.join()
            yield record
        for pipe, (child, name, backbone, begin) in list(running.items()):
            if time.monotonic() - begin > timeout:
                child.kill()
                child.join()
                del running[pipe]
                reason = f'no answer within {timeout:g} s'
                yield coverage.Record(name, backbone=backbone, reason=reason).as_dict()


def summary(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A line for each library, and one for all."""
    rows = []
    for lib in [*coverage.LIBRARIES, 'all']:
        mine = [r for r in records if lib == 'all' or r['config'].startswith(lib + '::')]
        timed = [r['seconds'] for r in mine if r['seconds'] is not None]
        r50 = [
            r['seconds']
            for r in mine
            if r['seconds'] is not None and r['backbone'].split('-')[-1] == '50'
        ]
        if mine:
            good = sum(not r['reason'] for r in mine)
            rows.append(
                {
                    'library': lib,
                    'configs': len(mine),
                    'counted': good,
                    'percent': 100 * good / len(mine),
                    'median s': statistics.median(timed) if timed else None,
                    'median s, depth 50': statistics.median(r50) if r50 else None,
                    'slowest s': max(timed, default=None),
                }
            )
    return rows


def main() -> None:
    args = parse_args()
    done: dict[str, dict[str, Any]] = {}
    if args.json and Path(args.json).is_file():
        done = {r['config']: r for r in json.loads(Path(args.json).read_text(encoding='utf-8'))}
    groups = chosen(args)
    asked = [name for group in groups.values() for name, _ in group]
    todo = {}
    for group in groups.values():
        known = next((done[name] for name, _ in group if name in done), None)
        for name, backbone in group:
            if known and name not in done:
                done[name] = dict(known, config=name, backbone=backbone)
        if not known:
            todo[group[0][0]] = group

    def save() -> None:
        if args.json:
            path = Path(args.json)
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_suffix('.part')
            part.write_text(json.dumps(list(done.values()), indent=1) + '\n', encoding='utf-8')
            part.replace(path)

    for lib in {name.split('::')[0] for name in asked}:
        # Once here instead of once in every child.
        import_modules_from_strings([f'{lib}.models'])
    torch.set_num_threads(1)
    with progress() as bar:
        task = bar.add_task('checking models', total=len(todo))
        firsts = [group[0] for group in todo.values()]
        for record in check_all(firsts, args.jobs, args.timeout):
            for name, backbone in todo[record['config']]:
                done[name] = dict(record, config=name, backbone=backbone)
            bar.advance(task)
            save()
    records = [done[name] for name in asked]
    save()
    if not args.quiet:
        print_table(records, title='configs')
    print_table(summary(records), title=f'{len(groups)} models in {len(asked)} configs')


if __name__ == '__main__':
    run(main)
