"""Write the embedded scenes of digits to a folder, as COCO and Cityscapes are laid out.

The demo configs read the same files as ``digits://``, without any being written.

Example:
    python tools/make_digits.py --out data/digits
    python tools/make_digits.py --out data/digits --task detection pose
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import mmcompress  # noqa: F401

# isort: split
from mmcompress.cli.launch import run
from mmcompress.core.errors import CompressionError
from mmcompress.datasets.files import TASKS, file_names, read


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Write the scenes of digits to a folder')
    parser.add_argument('--out', required=True, type=Path, help='a folder, new or empty')
    parser.add_argument('--task', nargs='+', choices=TASKS, default=list(TASKS), help='which files')
    return parser.parse_args()


def write(names: list[str], out: Path) -> None:
    """Write files below ``out``: all of them, or nothing."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent) as scratch:
        stage = Path(scratch) / out.name
        for name in names:
            path = stage / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(read(name))
        # Fails if somebody has put something there in the meantime.
        stage.replace(out)


def main() -> None:
    args = parse_args()
    out = args.out.resolve()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise CompressionError(f'--out: {args.out} is there and not an empty folder; name another')
    names = file_names(*args.task)
    write(names, out)
    print(f'{len(names)} files written to {args.out}')


if __name__ == '__main__':
    run(main)
