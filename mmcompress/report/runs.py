"""What a training, and the export of what it trained, have left in a folder."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmcompress.core.base.units_file import load_json
from mmcompress.core.checks import is_number
from mmcompress.core.errors import CompressionError
from mmcompress.core.export.export import FILES
from mmcompress.core.export.static import contents_of

#: The file that mmengine's visualizer writes, below the work dir.
SCALARS = '*/vis_data/scalars.json'
#: Keys of its lines that are neither losses nor metrics.
CLOCK = ('epoch', 'iter', 'step', 'time', 'data_time', 'memory')
#: Words in the names of metrics of which less is better.
LESS = ('loss', 'error', 'err', 'nme', 'epe', 'mae', 'mse', 'rmse', 'niqe', 'lpips')
#: How far below a folder trainings are looked for.
DEPTH = 3

#: A work dir and the export of what was trained there; of an export that is alone, it twice.
Pair = tuple[Path, Path | None]


@dataclass(frozen=True)
class Run:
    """A training with its export, or one of the two.

    Attributes:
        name: What tells it from the other runs of a report.
        folder: The work dir; of an export that is alone, its folder.
        config: The config of the training, if there is one.
        checkpoint: The last checkpoint of the training, if there is one.
        export: The folder of the export, if there is one.
    """

    name: str
    folder: Path
    config: Path | None = None
    checkpoint: Path | None = None
    export: Path | None = None


def find_runs(folders: Sequence[str | Path]) -> list[Run]:
    """The runs in some folders: work dirs, exports, or what has such below.

    Args:
        folders: As a user names them.

    Returns:
        In the order of the folders, each once; names are as short as tells them apart.

    Raises:
        CompressionError: If there is no such folder, or nothing in it.
    """
    found: dict[Pair, Pair] = {}
    for given in map(Path, folders):
        if not given.is_dir():
            raise CompressionError(f'work_dir: there is no folder {str(given)!r}')
        below = list(_search(given, DEPTH))
        if not below:
            raise CompressionError(
                f'work_dir: {str(given)!r} has neither {SCALARS}, which trainings write, nor '
                f'{" and ".join(FILES)}, which exports write; nor has a folder in it'
            )
        for folder, export in below:
            whole = folder.resolve(), None if export is None else export.resolve()
            found.setdefault(whole, (folder, export))
    works = [folder for folder, _ in found]
    # Of several exports of one training each has a name of its own.
    paths = [export if export and works.count(work) > 1 else work for work, export in found]
    names = short_names([list(path.parts) for path in paths])
    return [_run(name, *pair) for name, pair in zip(names, found.values(), strict=True)]


def is_export(folder: Path) -> bool:
    """Whether a folder holds an export."""
    return all((folder / name).is_file() for name in FILES)


def short_names(parts: list[list[str]]) -> list[str]:
    """The last parts of paths, from the first one on in which any two of them differ.

    Example:
        >>> short_names([['a', 'x', 'run'], ['a', 'y', 'run']])
        ['x/run', 'y/run']
    """
    first = 0
    while len(parts) > 1 and all(
        len(path) > first + 1 and path[first] == parts[0][first] for path in parts
    ):
        first += 1
    return ['/'.join(path[first if len(parts) > 1 else -1 :]) for path in parts]


def history(folder: Path) -> dict[str, Any]:
    """The curves of a training, of all its starts and resumes.

    Args:
        folder: The work dir.

    Returns:
        ``by_epoch``, whether the training counts epochs; ``losses`` and ``metrics``, by name the
        ``x`` and ``y`` of each curve (losses over iterations, metrics over epochs, or over
        iterations where it counts these); ``seconds``, the time of all training steps with the
        loading of their data, None where it isn't known.
    """
    steps: dict[int, dict[str, Any]] = {}
    tests: dict[int, dict[str, Any]] = {}
    for file in sorted(folder.glob(SCALARS)):
        rows = _rows(file)
        own = [row for row in rows if 'iter' in row]
        if not own:
            continue
        # What an earlier start did after this one began anew is not part of its history.
        began, epoch = own[0]['iter'], own[0].get('epoch', own[0]['iter'])
        steps = {key: row for key, row in steps.items() if key < began}
        tests = {key: row for key, row in tests.items() if key < epoch}
        steps.update((row['iter'], row) for row in own)
        # A method's progress stands there too, without a time.
        tests.update((row['step'], row) for row in rows if 'iter' not in row and 'time' in row)
    return dict(
        by_epoch=any('epoch' in row for row in steps.values()),
        losses=_curves(steps, lambda key: 'loss' in key),
        metrics=_curves(tests, lambda key: key not in CLOCK),
        seconds=_seconds(steps),
    )


def less_is_better(metric: str) -> bool:
    """Whether a metric is better the smaller it is, by its name.

    Example:
        >>> less_is_better('NME'), less_is_better('coco/bbox_mAP')
        (True, False)
    """
    words = metric.replace('/', ' ').replace('_', ' ').replace('-', ' ').lower().split()
    return any(word in LESS for word in words)


def _search(folder: Path, depth: int) -> Iterator[Pair]:
    """The work dirs in a folder, each with its export; and exports that are alone."""
    if _trained(folder):
        yield folder, _export_of(folder)
    elif is_export(folder):
        above = folder.parent
        yield (above if _trained(above) else folder), folder
    elif depth:
        for child in sorted(path for path in folder.iterdir() if path.is_dir()):
            yield from _search(child, depth - 1)


def _export_of(folder: Path) -> Path | None:
    """The export in a work dir: that of the usual name, or else the first."""
    children = sorted(path for path in folder.iterdir() if path.is_dir())
    places = [folder / 'export', folder, *children]
    return next((path for path in places if is_export(path)), None)


def _trained(folder: Path) -> bool:
    return any('iter' in row for file in folder.glob(SCALARS) for row in _rows(file))


def _run(name: str, folder: Path, export: Path | None) -> Run:
    if not _trained(folder):
        return Run(name, folder, export=export)
    configs = sorted(folder.glob('*.py'), key=lambda path: path.stat().st_mtime)
    if is_export(folder):  # which has a config of its own
        configs = [path for path in configs if path.name != FILES[1]]
    return Run(name, folder, configs[-1] if configs else None, _last_checkpoint(folder), export)


def _last_checkpoint(folder: Path) -> Path | None:
    """What training wrote last; a work dir that was moved has its files in another place."""
    note = folder / 'last_checkpoint'
    if not note.is_file():
        return None
    path = folder / Path(note.read_text(encoding='utf-8').strip()).name
    return path if path.is_file() else None


def _rows(file: Path) -> list[dict[str, Any]]:
    """One dict for each whole line; the last one may lack its end, if training was killed.

    Raises:
        CompressionError: If a line isn't JSON.
    """
    rows = []
    for line in file.read_text(encoding='utf-8').splitlines(keepends=True):
        if not line.endswith('\n'):
            continue
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            raise CompressionError(f'work_dir: {str(file)!r} is no JSON: {line[:80]!r}') from None
    return [row for row in rows if isinstance(row, dict)]


def _curves(rows: dict[int, dict[str, Any]], wanted: Any) -> dict[str, dict[str, list[float]]]:
    keys = dict.fromkeys(key for row in rows.values() for key in row if wanted(key))
    curves = {}
    for key in keys:
        points = [(at, row[key]) for at, row in rows.items() if is_number(row.get(key))]
        if points:
            x, y = zip(*points, strict=True)
            curves[key] = dict(x=list(x), y=list(y))
    return curves


def _seconds(steps: dict[int, dict[str, Any]]) -> float | None:
    """Each line has the mean time of the steps since the one before."""
    total, before = 0.0, 0
    for iteration, row in steps.items():
        if not is_number(row.get('time')):
            return None
        total += row['time'] * (iteration - before)
        before = iteration
    return total or None


def read_run(run: Run) -> dict[str, Any]:
    """What the files of a run say, before any model is built.

    Returns:
        ``name``, ``folder``, ``method`` (``'dense'`` for a plain network), ``config``,
        ``checkpoint``, ``export``, ``file_bytes`` of the exported file, and ``history``.

    Raises:
        CompressionError: If a file is damaged.
    """
    file = None if run.export is None else run.export / FILES[0]
    trained = run.folder.glob(SCALARS)
    return dict(
        name=run.name,
        folder=str(run.folder),
        method=method_of(run),
        **{
            key: None if path is None else str(path)
            for key, path in (
                ('config', run.config),
                ('checkpoint', run.checkpoint),
                ('export', run.export),
            )
        },
        file_bytes=None if file is None else file.stat().st_size,
        history=history(run.folder) if any(trained) else None,
    )


def method_of(run: Run) -> str:
    """The algorithm that was trained, by the name of its class; ``'dense'`` without one.

    Raises:
        CompressionError: If the file that says so is damaged.
    """
    if run.export is not None:
        subnet = load_json(run.export / FILES[2], 'work_dir', verb='export')
        return str(subnet.get('method', 'dense'))
    if run.config is None:
        return 'dense'
    try:
        model = Config.fromfile(run.config, import_custom_modules=False).get('model', {})
    except Exception as error:  # configs are programs
        reason = ' '.join(str(error).split()) or type(error).__name__
        raise CompressionError(
            f'work_dir: {str(run.config)!r} cannot be read: {reason[:200]}'
        ) from None
    if 'fix_subnet' in model:
        # An exported network that was trained on.
        return str(contents_of(model['fix_subnet']).get('method', 'dense'))
    return str(model['type']).rpartition('.')[2] if 'architecture' in model else 'dense'


def main_metric(runs: Iterable[dict[str, Any]], wanted: str | None = None) -> str | None:
    """The metric to compare runs by: the wanted one, else the first that the most of them have.

    Args:
        runs: What :func:`read_run` returns.
        wanted: By its name, or the end of it.

    Raises:
        CompressionError: If no run has it.
    """
    counts: dict[str, int] = {}
    for run in runs:
        for name in (run['history'] or {}).get('metrics', ()):
            counts[name] = counts.get(name, 0) + 1
    if wanted is None:
        return max(counts, key=lambda name: counts[name], default=None)
    names = [name for name in counts if name == wanted] or [
        name for name in counts if name.endswith(wanted)
    ]
    if not names:
        raise CompressionError(
            f'--metric: no run has {wanted!r}; there are {", ".join(counts) or "none"}'
        )
    return names[0]
