"""Cut images, of several scales together, into sub-images."""

from __future__ import annotations

import argparse
import contextlib
import logging
import math
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from mmengine.logging import print_log

from mmcompress.core.errors import CompressionError
from mmcompress.datasets.sr import BadImageError, PairedRandomCrop, SRFolders
from mmcompress.datasets.sr.crops import check_multiple, corners, crop_name
from mmcompress.datasets.sr.images import image_files, read_image, write_png
from mmcompress.report.table import progress_bar


def folders(args: argparse.Namespace) -> dict[int, Path]:
    """All folders to read by their scale, the true images under 1; checks all arguments.

    Raises:
        CompressionError: If an argument is wrong, or a new folder is there already.
    """
    found = {1: args.gt}
    for text in args.lq:
        scale, _, folder = text.partition('=')
        if not (scale.isdecimal() and int(scale) > 1 and folder):
            raise CompressionError(
                f'--lq: {text!r} is not of the form SCALE=FOLDER, such as 4=images/X4'
            )
        if int(scale) in found:
            raise CompressionError(
                f'--lq: scale {scale} is given twice; give one folder for each scale'
            )
        found[int(scale)] = Path(folder)
    for name in ('size', 'step'):
        # Alike in all folders, so a whole number of pixels in each.
        check_multiple(f'--{name}', getattr(args, name), math.lcm(*found))
    if args.threads < 1:
        raise CompressionError(f'--threads is {args.threads}; give 1 or more')
    if not args.suffix or '/' in args.suffix:
        raise CompressionError(
            f'--suffix is {args.suffix!r}; give the ending of a name, such as _sub'
        )
    outs = [target(folder, args.suffix) for folder in found.values()]
    for out in outs:
        if out.exists():
            raise CompressionError(f'{str(out)!r} exists; move it, or give another --suffix')
    if len(set(outs)) < len(outs):
        raise CompressionError('--lq: a folder is given twice; each scale needs its own')
    return found


def target(folder: Path, suffix: str) -> Path:
    """The new folder."""
    folder = folder.resolve()
    return folder.with_name(folder.name + suffix)


def pairs(args: argparse.Namespace, sources: dict[int, Path]) -> list[dict[int, Path]]:
    """The files of each image by scale, after a look at all headers.

    Raises:
        CompressionError: If a folder is missing or empty, or two names are the same.
        BadImageError: If a file can't be used and ``--skip-bad`` isn't given.
    """
    for folder in sources.values():
        image_files(folder)
    usable: dict[str, dict[int, Path]] = {}
    for scale, folder in sources.items():
        dataset = SRFolders(
            str(args.gt),
            None if scale == 1 else str(folder),
            scale,
            # Images of fewer pixels are found as for training on patches of this size.
            pipeline=[PairedRandomCrop(args.size)],
            skip_bad=args.skip_bad,
        )
        for item in (dataset.get_data_info(i) for i in range(len(dataset))):
            path = item['img_path']
            usable.setdefault(path, {})[scale] = Path(path if scale == 1 else item['lq_path'])
    complete = [files for files in usable.values() if len(files) == len(sources)]
    if not complete:
        raise CompressionError(f'{str(args.gt)!r} has no image that can be used at every scale')
    stem, count = Counter(files[1].stem for files in complete).most_common(1)[0]
    if count > 1:
        raise CompressionError(
            f'{str(args.gt)!r} has {count} images called {stem!r}, of several '
            'file types; keep one of them'
        )
    return complete


def cut(files: dict[int, Path], outs: dict[int, Path], size: int, step: int) -> int:
    """Cut one image, of all scales; returns the number of sub-images of each.

    Raises:
        BadImageError: If a file is damaged; nothing is written then.
    """
    images = {scale: read_image(path) for scale, path in files.items()}
    multiple = math.lcm(*files)
    height, width = (side // multiple * multiple for side in images[1].shape[:2])
    places = corners(height, width, size, step)
    for number, place in enumerate(places, 1):
        for scale, image in images.items():
            (top, left), side = (pixel // scale for pixel in place), size // scale
            crop = image[top : top + side, left : left + side]
            write_png(outs[scale] / crop_name(files[1].stem, number), crop)
    return len(places)


def cut_all(args: argparse.Namespace, sources: dict[int, Path]) -> dict:
    """Cut all images of all folders; returns what was done."""
    todo = pairs(args, sources)
    done: dict[str, int] = {}
    with contextlib.ExitStack() as stack:
        stages = {}
        for scale, folder in sources.items():
            scratch = tempfile.TemporaryDirectory(dir=folder.resolve().parent, prefix='.sub_')
            stages[scale] = Path(stack.enter_context(scratch), 'images')
            stages[scale].mkdir()
        bar = stack.enter_context(progress_bar())
        task = bar.add_task('cutting images', total=len(todo))
        pool = stack.enter_context(ThreadPoolExecutor(args.threads))
        # Runs before the pool's own exit, which would wait for all that is queued. Ctrl-C and
        # errors only wait for what has begun.
        stack.callback(pool.shutdown, wait=True, cancel_futures=True)
        futures = {
            pool.submit(cut, files, stages, args.size, args.step): files[1].name for files in todo
        }
        for future in as_completed(futures):
            try:
                done[futures[future]] = future.result()
            except BadImageError as error:
                if not args.skip_bad:
                    raise
                print_log(f'--skip-bad: {error}; left out', 'current', level=logging.WARNING)
            bar.advance(task)
        if not done:
            raise CompressionError(f'{str(args.gt)!r} has no image that can be used')
        with contextlib.ExitStack() as undo:
            for scale, folder in sources.items():
                out = target(folder, args.suffix)
                # Fails if somebody has put something there in the meantime.
                stages[scale].rename(out)
                undo.callback(out.rename, stages[scale])
            undo.pop_all()
    return dict(
        images=len(done),
        sub_images=sum(done.values()),
        size=args.size,
        step=args.step,
        folders={str(k): str(target(folder, args.suffix)) for k, folder in sources.items()},
        left_out=[path.name for path in image_files(args.gt) if path.name not in done],
    )
