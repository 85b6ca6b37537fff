"""The first 50 steps of every method beside those of its authors' program: how far losses differ.

The cases and the restatements of the authors' programs are those of the tests, `tests/methods`.
Rows with a departure are trained our way in that point alone, and theirs in all others.

Example:
    OMP_NUM_THREADS=1 python benchmarks/fifty_steps.py
    OMP_NUM_THREADS=1 python benchmarks/fifty_steps.py fcf dcff --json work_dirs/fifty_steps.json
"""

from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path
from types import ModuleType

FRAME = Path(__file__).resolve().parents[1] / 'tests/methods/fifty_steps.py'
SHOWN = (1, 10, 25, 50)


def frame() -> ModuleType:
    """The frame of the tests."""
    spec = importlib.util.spec_from_file_location('fifty_steps_of_tests', FRAME)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('methods', nargs='*', help='by default all of them')
    parser.add_argument('--json', type=Path, help='write the differences of all steps there')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    tests = frame()
    # Imported here: the frame has repaired old dependencies.
    from mmengine.logging import MMLogger

    from mmcompress.cli.options import give_json

    MMLogger.get_current_instance().setLevel('ERROR')
    for name in args.methods:
        if name not in tests.METHODS:
            raise SystemExit(f'error: {name!r} is no method; they are {", ".join(tests.METHODS)}')
    rows = []
    steps = ' | '.join(f'step {n}' for n in SHOWN)
    print(f'| method | case | departure | {steps} | largest of 50 |')
    print(f'| --- | --- | --- |{" --- |" * (len(SHOWN) + 1)}')
    for method, case, departure, options in tests.everything():
        if args.methods and method not in args.methods:
            continue
        gaps, _ = tests.gaps(method, case, options)
        shown = ' | '.join(f'{value:.0e}' for value in [*(gaps[n - 1] for n in SHOWN), max(gaps)])
        own = f'`{departure}`' if departure else ''
        print(f'| {method} | {case} | {own} | {shown} |', flush=True)
        rows.append(dict(method=method, case=case, departure=departure, differences=gaps))
    give_json(rows, args.json)


if __name__ == '__main__':
    main()
