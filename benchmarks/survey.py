"""Ask the same question of many configs of the libraries: selection, progress, resuming."""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import random
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import library_coverage as coverage
import torch
from isolated import in_processes
from mmengine.logging import MMLogger
from mmengine.utils import import_modules_from_strings
from torch import nn

from mmcompress.core.base.build import build_model, init_scope
from mmcompress.core.errors import CompressionError
from mmcompress.report.table import progress_bar


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments that say which configs, how, and where the records go."""
    parser.add_argument('--lib', nargs='+', default=list(coverage.LIBRARIES), help='libraries')
    parser.add_argument('--pattern', default='*', help='shell pattern for lib::path/to/config.py')
    parser.add_argument('--sample', type=int, help='check this many configs, drawn at random')
    parser.add_argument('--seed', type=int, default=0, help='of the draw')
    parser.add_argument('--json', help='write records here; those already there are kept')
    parser.add_argument('--jobs', type=int, default=2, help='processes at a time')
    parser.add_argument('--timeout', type=float, default=180, help='seconds for one model')
    parser.add_argument('--quiet', action='store_true', help='the summary only')


def survey(
    args: argparse.Namespace,
    blank: Callable[[str, str], list[Any]],
    body: Callable[[Any], Any],
) -> tuple[list[dict[str, Any]], int]:
    """Fill in records of the chosen configs, each in a process of its own.

    Configs that build the same model share what was found out about it.

    Args:
        args: As :func:`add_arguments` declares them.
        blank: Records to fill in for a config and its backbones: dataclasses with ``config``,
            ``backbone`` and ``reason``, with ``analyzer`` where there are several.
        body: Fills one in and returns it.

    Returns:
        The records as dicts, in the order of the configs, and the number of different models.

    Raises:
        CompressionError: If the arguments choose no config.
        OSError: If the records can't be read or written.
    """
    done = _read(args.json)
    groups = chosen(args)
    asked = []
    todo = {}
    for group in groups.values():
        # One row a config; a column is one analyzer's records of the same model.
        rows = [blank(name, backbone) for name, backbone in group]
        asked += [record for row in rows for record in row]
        for column in zip(*rows, strict=True):
            known = next((done[_key(r)] for r in map(vars, column) if _key(r) in done), None)
            if not known:
                todo[_key(vars(column[0]))] = column
                continue
            for record in column:
                same = dict(known, config=record.config, backbone=record.backbone)
                done.setdefault(_key(same), same)
    torch.set_num_threads(1)
    for lib in {record.config.split('::')[0] for record in asked}:
        # Once here instead of once in every child.
        import_modules_from_strings([f'{lib}.models'])
    with progress_bar() as bar:
        task = bar.add_task('checking models', total=len(todo))
        firsts = [column[0] for column in todo.values()]
        for first, filled, reason in in_processes(body, firsts, args.jobs, args.timeout):
            found = dict(vars(filled)) if filled else dict(vars(first), reason=reason)
            for record in todo[_key(found)]:
                same = dict(found, config=record.config, backbone=record.backbone)
                done[_key(same)] = same
            bar.advance(task)
            _write(args.json, done)
    _write(args.json, done)
    return [done[_key(vars(record))] for record in asked], len(groups)


def chosen(args: argparse.Namespace) -> dict[str, list[tuple[str, str]]]:
    """Configs to check, with their backbones, by what their models have in common.

    Raises:
        CompressionError: If a library is unknown or no config fits.
    """
    for lib in args.lib:
        if lib not in coverage.LIBRARIES:
            raise CompressionError(f'--lib: {lib!r} is none of {", ".join(coverage.LIBRARIES)}')
    for name, least in (('sample', 1), ('jobs', 1), ('timeout', 0)):
        value = getattr(args, name)
        if value is not None and value < least:
            raise CompressionError(f'--{name}: {value} is too few, give {least} or more')
    names = [name for lib in args.lib for name in coverage.config_names(lib)]
    names = [name for name in names if fnmatch.fnmatch(name, f'*{args.pattern}*')]
    family = []
    with progress_bar() as bar:
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


def dense_model(name: str) -> nn.Module:
    """Build the model of ``lib::path`` without checkpoints, its library's scope in place.

    For a process of its own: sets one thread, silences mmengine's log, changes the scope and the
    working directory.

    Raises:
        CompressionError: If the config is wrong.
    """
    torch.set_num_threads(1)
    MMLogger.get_instance('mmengine').setLevel('ERROR')
    cfg = coverage.read_library_config(name)
    if cfg.get('custom_imports'):
        import_modules_from_strings(**cfg.custom_imports)
    init_scope(cfg)
    cfg.model = coverage.without_checkpoints(cfg.model)
    # Distillation names its teacher by a path inside the library's repository.
    os.chdir(coverage.config_root(name.split('::')[0]).parent)
    return build_model(cfg)


def _key(record: dict[str, Any]) -> tuple[str, str]:
    return record['config'], record.get('analyzer', '')


def _read(path: str | None) -> dict[tuple[str, str], dict[str, Any]]:
    if not path or not Path(path).is_file():
        return {}
    try:
        records = json.loads(Path(path).read_text(encoding='utf-8'))
        return {_key(record): record for record in records}
    except (ValueError, TypeError, KeyError, AttributeError):
        raise CompressionError(f'--json: {path!r} holds no records of an earlier run') from None


def _write(path: str | None, done: dict[tuple[str, str], dict[str, Any]]) -> None:
    if not path:
        return
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f'.{file.name}.part')
    part.write_text(json.dumps(list(done.values()), indent=1) + '\n', encoding='utf-8')
    part.replace(file)
