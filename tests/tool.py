"""Run the tools as a user does: another process, one thread, from the repository's root."""

from __future__ import annotations

import argparse
import atexit
import functools
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from importlib import import_module
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[1]
DEMO = 'configs/demo/dcff_resnet20_digits.py'

#: A training of seconds: a network of 8 layers, 128 images, two batches an epoch.
SMALL = (
    'model.architecture.backbone.depth=8',
    'train_dataloader.dataset.indices=128',
    'val_dataloader.dataset.indices=50',
    'test_dataloader.dataset.indices=50',
)


def environment(**extra: str) -> dict[str, str]:
    """The environment of a tool: one thread, so that sums are taken in one order."""
    env = {key: value for key, value in os.environ.items() if key != 'PYTHONPATH'}
    env.update(OMP_NUM_THREADS='1', MKL_NUM_THREADS='1', PYTHON=sys.executable)
    return {**env, **extra}


def command(name: str, *args: object) -> list[str]:
    """The command line of a tool."""
    return [sys.executable, '-W', 'ignore', str(script(name)), *map(str, args)]


def script(name: str) -> Path:
    """The file of a tool, or of a study, relative to the repository's root; or a file itself."""
    if name.endswith('.py'):
        return Path(name)
    folder = 'tools' if (ROOT / 'tools' / f'{name}.py').is_file() else 'benchmarks'
    return Path(folder, f'{name}.py')


#: Some tests run several tools side by side.
_ONE_AT_A_TIME = threading.Lock()


@functools.cache
def _server() -> subprocess.Popen:
    """A process that has imported everything, for the life of this one."""
    words = [sys.executable, '-W', 'ignore', str(Path(__file__).with_name('fork_server.py'))]
    server = subprocess.Popen(words, cwd=ROOT, env=environment(), stdin=subprocess.PIPE, text=True)
    atexit.register(server.stdin.close)
    return server


def run_tool(name: str, *args: object, limit: float = 240) -> subprocess.CompletedProcess:
    """Run a tool to its end, whatever its exit status.

    Its process is a fork of one that has imported everything. :func:`run_alone` starts another.

    Raises:
        TimeoutError: If it takes longer than ``limit`` seconds.
    """
    words = [str(script(name)), *map(str, args)]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        job = dict(words=words, cwd=str(ROOT), env=environment(), folder=place)
        with _ONE_AT_A_TIME:
            server = _server()
            server.stdin.write(json.dumps(job) + '\n')
            server.stdin.flush()
        end = time.monotonic() + limit
        while not (folder / 'status').exists():
            if server.poll() is not None:
                raise RuntimeError(f'fork_server.py ended with status {server.returncode}')
            if time.monotonic() > end:
                os.killpg(int((folder / 'pid').read_text()), signal.SIGKILL)
                raise TimeoutError(words)
            time.sleep(0.02)
        status = int((folder / 'status').read_text())
        out, err = ((folder / name).read_text() for name in ('stdout', 'stderr'))
    return subprocess.CompletedProcess(words, status, out, err)


def run_alone(name: str, *args: object, **extra: str) -> subprocess.CompletedProcess:
    """The same in an interpreter of its own; ``extra`` goes into its environment."""
    return subprocess.run(
        command(name, *args),
        cwd=ROOT,
        env=environment(**extra),
        capture_output=True,
        text=True,
        timeout=240,
        stdin=subprocess.DEVNULL,
    )


def succeed(name: str, *args: object) -> str:
    """Run a tool that has to succeed; returns its standard output."""
    done = run_tool(name, *args)
    assert done.returncode == 0, f'{done.stdout[-2000:]}\n{done.stderr[-4000:]}'
    return done.stdout


#: The module of each tool's verb, and the one beside it that does the work.
VERBS = {
    'train': ('train', 'training'),
    'recover': ('recover', 'recovering'),
    'test': ('test', 'testing'),
    'export': ('export', 'exporting'),
    'convert': ('convert', 'converting'),
    'get_channel_units': ('units', 'listing'),
    'get_flops': ('flops',),
    'tables': ('tables', 'tabulating'),
    'benchmark': ('bench',),
    'plot': ('plot',),
    'report': ('report', 'reporting'),
    'reproduce': ('reproduce', 'reproduction', 'smoke'),
    'demo': ('demo', 'demonstration'),
    'make_digits': ('data.digits',),
    'make_sub_images': ('data.crop', 'data.cropping'),
}


class Verb:
    """A verb as a module: its functions, and those that its work needs."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.verb, *rest = (import_module(f'mmcompress.cli.{name}') for name in (*names, 'launch'))
        self.modules = [*rest, self.verb]

    def parse_args(self) -> argparse.Namespace:
        """The arguments in ``sys.argv``."""
        return import_module('mmcompress.cli').parse(self.verb, sys.argv[1:])

    def main(self) -> None:
        """What the tool does; errors are raised."""
        self.verb.main(self.parse_args())

    def __getattr__(self, name: str) -> object:
        return next(getattr(found, name) for found in self.modules if hasattr(found, name))


def module(name: str) -> ModuleType | Verb:
    """A tool, or a study, as a module, for its functions."""
    if name in VERBS:
        return Verb(VERBS[name])
    spec = importlib.util.spec_from_file_location(f'tools_{name}', ROOT / script(name))
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found
