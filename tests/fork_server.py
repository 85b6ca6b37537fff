"""Runs tools in forks of itself: they find everything imported, which takes most of a short run.

Each line of standard input is a job: the words of a script, its working directory, its environment,
and a folder. The folder gets the script's ``stdout`` and ``stderr``, and at last ``status``.
"""

from __future__ import annotations

import gc
import json
import os
import runpy
import signal
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import mmcompress.everything  # noqa: F401  (which every tool imports first)

for library in ('mmpretrain', 'mmdet', 'mmseg', 'mmpose'):
    with suppress(ImportError):
        import_module(f'{library}.models')


def main() -> None:
    """Take jobs until there are no more. Only a fork that is to run a script comes back."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the forks
    gc.freeze()  # they need not look at what is here
    while line := sys.stdin.readline():
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            job = json.loads(line)
            folder = Path(job['folder'])
            script = os.fork()
            if script == 0:
                become(job, folder)
                return
            (folder / 'pid').write_text(str(script))
            status = os.waitstatus_to_exitcode(os.waitpid(script, 0)[1])
            (folder / 'part').write_text(str(status))
            (folder / 'part').rename(folder / 'status')
            os._exit(0)
    os._exit(0)


def become(job: dict, folder: Path) -> None:
    """Look like an interpreter that was started for a script."""
    os.setpgid(0, 0)
    for number, path, flags in (
        (0, os.devnull, os.O_RDONLY),
        (1, folder / 'stdout', os.O_WRONLY | os.O_CREAT),
        (2, folder / 'stderr', os.O_WRONLY | os.O_CREAT),
    ):
        opened = os.open(path, flags)
        os.dup2(opened, number)
        os.close(opened)
    sys.stdin = os.fdopen(0)
    os.chdir(job['cwd'])
    os.environ.clear()
    os.environ.update(job['env'])
    sys.argv = job['words']
    sys.path[0] = str(Path(job['words'][0]).resolve().parent)


if __name__ == '__main__':
    main()
    # In a fork, at the top of its stack: it ends as any other script does.
    runpy.run_path(sys.argv[0], run_name='__main__')
