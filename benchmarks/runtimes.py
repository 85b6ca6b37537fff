"""Which runtimes read the exports: each is converted, run on real images, and compared with torch.

    onnxruntime   the ONNX file of the export
    openvino      OpenVINO's IR, made of the ONNX file
    ncnn          ncnn's files, made by pnnx of a TorchScript trace
    litert        a LiteRT (TensorFlow Lite) file, made by litert-torch of an exported program
    mmdeploy      the ONNX file that mmdeploy's `torch2onnx` writes of `compact.py`, with its own
                  rewriting of the whole `predict`, run by onnxruntime and compared with the
                  library's `predict`

All in float32. A cell is the largest difference, as a share of the largest value of an output, or
what went wrong. Every conversion runs in a process of its own, with a time limit.

What the runtimes need is in `requirements/runtimes.txt`; docs/runtimes.md says how to install it
beside this environment, for `--python`.

Without arguments the networks of the demo are exported first, by DCFF and by filter basis, as they
are before training.

Example:
    python benchmarks/runtimes.py --python work_dirs/runtimes_env/bin/python
    python benchmarks/runtimes.py work_dirs/x/export --runtimes onnxruntime openvino
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import mmcompress

# isort: split
from conversions import PACKAGES
from isolated import in_processes
from prepared import prepare, untrained

from mmcompress.cli.launch import results_on_stdout, run
from mmcompress.core.errors import CompressionError
from mmcompress.report import print_table, write_json
from mmcompress.report.table import progress_bar, wide_console

CONFIGS = [
    f'configs/demo/{name}.py'
    for name in (
        'dcff_resnet20_digits',
        'dcff_faster-rcnn_r18_digits',
        'dcff_fcn_r18_digits',
        'dcff_heatmap_r18_digits',
        'filter_basis_resnet20_digits_finetune',
        'filter_basis_faster-rcnn_r18_digits_finetune',
        'filter_basis_fcn_r18_digits_finetune',
        'filter_basis_heatmap_r18_digits_finetune',
        'filter_basis_edsr_x2_photos_finetune',
    )
]
#: What a runtime may differ by, as a share of the largest value of an output.
TOLERANCE = 1e-4
CONVERSIONS = Path(__file__).with_name('conversions.py')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'exports',
        nargs='*',
        metavar='EXPORT',
        help='folders that `mmcompress export` wrote, or compression configs, whose network is '
        'exported as it is before training; by default nine of the demo',
    )
    parser.add_argument('--runtimes', nargs='+', choices=list(PACKAGES), default=list(PACKAGES))
    parser.add_argument(
        '--python',
        default=sys.executable,
        metavar='PATH',
        help='interpreter that has the packages of the runtimes; this one by default',
    )
    parser.add_argument('--timeout', type=float, default=300, help='seconds for one conversion')
    parser.add_argument('--out', metavar='FOLDER', help='keep all files here')
    parser.add_argument('--json', metavar='FILE', help='write the results there as well')
    args = parser.parse_args()
    if not args.timeout > 0:
        raise CompressionError(f'--timeout is {args.timeout:g}; it has to be more than 0')
    if not os.access(args.python, os.X_OK):
        raise CompressionError(f'--python: {args.python!r} is not a program that can be run')
    return args


def make_ready(task: tuple[str, Path]) -> dict[str, Any]:
    """Body of a child process: an export, and beside it what converters read."""
    given, folder = task
    before = logging.root.manager.disable
    logging.disable(logging.INFO)  # how every layer is initialised
    try:
        if Path(given).is_dir():
            for name in ('compact.py', 'compact.pth', 'fix_subnet.json'):
                source = Path(given, name)
                if not source.is_file():
                    raise CompressionError(f'{given!r} is no export: it has no {name}')
                folder.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes(source.read_bytes())
        else:
            untrained(given, folder)
        return prepare(folder)
    finally:
        logging.disable(before)


def convert(python: str, runtime: str, folder: Path, timeout: float) -> dict[str, Any]:
    """Convert and run in another process; its log is beside the files.

    Returns:
        What :func:`conversions.main` does; with ``error`` also where it came to no end.
    """
    log = folder / f'{runtime}.log'
    # This package is where it is here; that interpreter may not know it.
    path = str(Path(mmcompress.__file__).resolve().parents[1])
    env = dict(os.environ, CUDA_VISIBLE_DEVICES='', TF_CPP_MIN_LOG_LEVEL='3', PYTHONPATH=path)
    command = [python, '-W', 'ignore', str(CONVERSIONS), runtime, str(folder)]
    try:
        done = subprocess.run(
            command, env=env, capture_output=True, text=True, errors='replace', timeout=timeout
        )
    except subprocess.TimeoutExpired as error:
        log.write_bytes(error.stderr or b'')
        return dict(error=f'no answer within {timeout:g} s', versions={})
    log.write_text(done.stdout + done.stderr, encoding='utf-8')
    return answer(done.returncode, done.stdout, done.stderr)


def answer(status: int, stdout: str, stderr: str) -> dict[str, Any]:
    """What a conversion says, or why it says nothing.

    Args:
        status: The exit status; negative for a signal.
        stdout: Its last line is JSON, where all went well.
        stderr: Its last line is the reason, where Python or a library gave one.
    """
    lines = stdout.strip().splitlines()
    if status == 0 and lines:
        try:
            return dict(json.loads(lines[-1]))
        except ValueError:
            pass
    said = next((line for line in reversed(stderr.strip().splitlines()) if line.strip()), '')
    how = f'the process was ended by signal {-status}' if status < 0 else f'exit status {status}'
    return dict(error=f'{how}: {said.strip()}' if said else how, versions={})


def verdict(found: dict[str, Any]) -> str:
    """A cell of the table."""
    if found.get('missing'):
        return 'not installed'
    if 'error' in found:
        return 'fails'
    share = found['difference']
    return f'{share:.1g}' if share < TOLERANCE else f'differs by {share:.1g}'


def reasons(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """A line for everything that went wrong, with the models that it went wrong with."""
    models: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if row.get('missing'):
            reason = f'not installed; `pip install {" ".join(row["missing"])}`'
        elif 'error' in row:
            reason = shortened(row['error'])
        else:
            continue
        models.setdefault((row['runtime'], reason), []).append(row['model'])
    for (runtime, reason), names in models.items():
        yield f'{runtime}: {reason} ({", ".join(names)})'


def shortened(reason: str, most: int = 200) -> str:
    """A reason without what differs from model to model, in a line."""
    reason = re.sub(r'0x[0-9a-f]{6,}', '0x...', ' '.join(reason.split()))
    return reason if len(reason) <= most else f'{reason[: most - 3]}...'


def measure(args: argparse.Namespace, work: Path) -> list[dict[str, Any]]:
    """A row for each export and runtime.

    Raises:
        CompressionError: If there is nothing to convert.
    """
    given = args.exports or CONFIGS
    # Of `work_dirs/NAME/export` the name is the one in the middle.
    names = [
        Path(path).resolve().parent.name if Path(path).name == 'export' else Path(path).stem
        for path in given
    ]
    if len(set(names)) < len(names):
        names = [f'{number}_{name}' for number, name in enumerate(names)]
    tasks = [(path, work / name) for path, name in zip(given, names, strict=True)]
    rows: list[dict[str, Any]] = []
    with progress_bar() as bar:
        step = bar.add_task('exporting', total=len(tasks) * (1 + len(args.runtimes)))
        for task in tasks:
            ((_, ready, reason),) = in_processes(make_ready, [task], 1, args.timeout)
            bar.advance(step)
            if reason:
                raise CompressionError(f'{task[0]} cannot be made ready: {reason}')
            folder = task[1]
            for runtime in args.runtimes:
                bar.update(step, description=f'{folder.name}: {runtime}')
                found = convert(args.python, runtime, folder, args.timeout)
                head = dict(model=folder.name, outputs=ready['outputs'], runtime=runtime)
                rows.append({**head, **found})
                bar.advance(step)
            if args.json:  # after each export, for a run that is stopped
                write_json(rows, args.json)
    return rows


def table(rows: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
    """A line for each export, with a column for each runtime."""
    lines: dict[str, dict[str, str]] = {}
    for row in rows:
        line = lines.setdefault(row['model'], dict(model=row['model'], outputs=row['outputs']))
        line[row['runtime']] = verdict(row)
    return list(lines.values())


def versions(rows: Sequence[dict[str, Any]]) -> str:
    """Which versions the results are of."""
    found = {name: number for row in rows for name, number in row['versions'].items()}
    return ', '.join(f'{name} {number}' for name, number in sorted(found.items()))


def main() -> None:
    args = parse_args()
    with results_on_stdout(), tempfile.TemporaryDirectory() as scratch:
        rows = measure(args, Path(args.out or scratch).resolve())
    title = 'largest difference to torch, as a share of the largest value of an output'
    print_table(table(rows), title=title, console=wide_console())
    for line in reasons(rows):
        print(line)
    print(versions(rows))


if __name__ == '__main__':
    run(main)
