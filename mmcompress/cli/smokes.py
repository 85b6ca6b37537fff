"""The smokes of many rows, each in a process of its own, and one table of them."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import sys
import time
import traceback
from importlib import import_module
from pathlib import Path
from typing import Any

from mmcompress.core.errors import first_line

from . import parse
from .options import give_json
from .reproduction import MARK, configs_of, default_work_dir, duration, reproduce
from .rows import Row
from .runner import ToolRunner
from .staged_training import METRICS

#: What a smoke leaves in its work dir when it failed or passed.
OUTCOME = 'smoke.json'

#: A process that is forked has all imports already, which take longer than most smokes.
CONTEXT: Any = multiprocessing.get_context(
    'fork' if 'fork' in multiprocessing.get_all_start_methods() else None
)


def smoke_all(rows: list[Row], work_dir: str | None = None) -> list[dict[str, Any]]:
    """Run the smokes of rows one after another; those that have passed are not run again.

    Args:
        rows: Which.
        work_dir: Of all of them; by default those of the single smokes.

    Returns:
        For each row its ``system`` and name, ``passed``, ``seconds``, ``error``, and as
        ``estimate`` what :func:`~.smoke.estimate` says.
    """
    found = []
    for row in rows:
        folder = default_work_dir(row, smoke=True)
        if work_dir:
            folder = Path(work_dir, *folder.parts[-2:])
        outcome = _outcome(folder)
        if outcome is None:
            # Imports the library of the config; what is wrong with that, the smoke will say.
            with contextlib.suppress(Exception):
                configs_of(row, folder)
            outcome = _run(row, folder)
            print(f'{row.system} {row.row}: {outcome["error"] or "passed"}', file=sys.stderr)
        found.append(dict(system=row.system, row=row.row, network=row.network, **outcome))
    return found


def _outcome(folder: Path) -> dict[str, Any] | None:
    """What an earlier run has found out, if that passed."""
    path = folder / OUTCOME
    if not path.is_file():
        return None
    before = json.loads(path.read_text(encoding='utf-8'))
    return before if before['passed'] else None


def _run(row: Row, folder: Path) -> dict[str, Any]:
    """One smoke, from its first step, in a process of its own."""
    for stale in folder.glob('seed*/*/last_checkpoint'):
        stale.unlink()
    for stale in (*folder.glob(f'seed*/{METRICS}'), folder / MARK, folder / OUTCOME):
        stale.unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    process = CONTEXT.Process(target=_smoke, args=(row, folder))
    process.start()
    process.join()
    path = folder / OUTCOME
    if path.is_file():
        return json.loads(path.read_text(encoding='utf-8'))
    error = f'the process ended with status {process.exitcode}'
    return dict(passed=False, seconds=None, error=error, estimate=None)


def _smoke(row: Row, folder: Path) -> None:
    """Run a smoke in this process, and write down what came out; ``log.txt`` has what it says."""
    with open(folder / 'log.txt', 'w', encoding='utf-8') as log:
        for stream in (1, 2):
            os.dup2(log.fileno(), stream)
        words = [row.system, row.row, '--smoke', '--work-dir', str(folder)]
        outcome: dict[str, Any] = dict(passed=False, seconds=None, error=None, estimate=None)
        ToolRunner.quiet = True  # in this process
        clock, processor = time.perf_counter(), time.process_time()
        try:
            result = reproduce(row, parse(import_module('mmcompress.cli.reproduce'), words))
            outcome.update(passed=True, estimate=result['estimate'])
        # Whatever a recipe fails by belongs in the table.
        except Exception as error:
            traceback.print_exc()
            outcome['error'] = f'{type(error).__name__}: {first_line(error)}'
        # Other programs may have had the processor in between.
        outcome['seconds'] = min(time.perf_counter() - clock, time.process_time() - processor)
        give_json(outcome, str(folder / OUTCOME))


def table_rows(found: list[dict[str, Any]]) -> list[dict[str, str]]:
    """The table: of each row whether it runs, and what the whole training would take."""
    return [
        dict(
            system=smoke['system'],
            row=smoke['row'],
            smoke=smoke['error'] or 'passed',
            seconds='' if smoke['seconds'] is None else f'{smoke["seconds"]:.0f}',
            **_estimate(smoke['estimate']),
        )
        for smoke in found
    ]


def _estimate(estimate: dict[str, Any] | None) -> dict[str, str]:
    names = ('steps', 'batch', 'a step', 'full training', 'memory', 'peak of the smoke')
    columns = dict.fromkeys(names, '')
    if estimate:
        stages = estimate['stages']
        columns['steps'] = ' + '.join(f'{stage["steps"]:,}' for stage in stages)
        columns['batch'] = ', '.join(dict.fromkeys(str(stage['batch']) for stage in stages))
        slowest = max(stage['seconds_per_image'] * stage['batch'] for stage in stages)
        columns['a step'] = f'{slowest:.1f} s'
        columns['full training'] = duration(estimate['hours'])
        columns['memory'] = f'{estimate["memory"] / 2**30:.1f} GiB'
        if estimate['peak'] is not None:
            columns['peak of the smoke'] = f'{estimate["peak"] / 2**30:.1f} GiB'
    return columns
