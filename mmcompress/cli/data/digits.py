"""Write the embedded scenes of digits to a folder, in the layout of COCO and Cityscapes.

The demo configs need no such folder: they read the same files as digits://.

Example:
    mmcompress data digits --out data/digits
    mmcompress data digits --out data/digits --task detection pose
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from mmcompress.cli.options import add_out_argument

#: Those of :data:`mmcompress.datasets.files.TASKS`, which a help text can't wait for.
TASKS = ('detection', 'segmentation', 'pose')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command line may say."""
    add_out_argument(parser, 'folder to write to, new or empty', required=True)
    parser.add_argument(
        '--task',
        nargs='+',
        choices=TASKS,
        default=list(TASKS),
        help='write the files of these tasks',
    )


def main(args: argparse.Namespace) -> None:
    """Write the files.

    Raises:
        CompressionError: If there is something in the folder.
    """
    from mmcompress.core.errors import CompressionError
    from mmcompress.datasets.files import file_names

    out = Path(args.out).resolve()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise CompressionError(f'--out: {args.out} exists and is not an empty folder; give another')
    names = file_names(*args.task)
    write(names, out)
    print(f'{len(names)} files written to {args.out}')


def write(names: list[str], out: Path) -> None:
    """Write files below ``out``: all of them, or nothing."""
    from mmcompress.datasets.files import read

    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent) as scratch:
        stage = Path(scratch) / out.name
        for name in names:
            path = stage / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(read(name))
        # Fails if somebody has put something there in the meantime.
        stage.replace(out)
