"""From work dirs and exports to the page that shows them."""

from __future__ import annotations

import argparse
import io
import json
import math
import os
import platform
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from torch import nn

from mmcompress.core.base.algorithm import INNER, PROGRESS, CompressionAlgorithm
from mmcompress.core.base.build import build_architecture, build_model, init_scope
from mmcompress.core.base.image_shape import image_shape
from mmcompress.core.checks import check_installed
from mmcompress.core.errors import CompressionError
from mmcompress.core.export.checkpoint import check_fits, load_checkpoint_file, load_into
from mmcompress.core.export.export import FILES, INT8_FILES, ONNX_FILE, dense_config
from mmcompress.core.export.onnx import OnImages
from mmcompress.core.export.static import dense_part, is_sub_model, to_static
from mmcompress.core.probe.demo_inputs import demo_batch
from mmcompress.core.probe.probe import seeded
from mmcompress.report.drawing import png
from mmcompress.report.latency import compare_latency
from mmcompress.report.layer_table import add_times, layer_figures, layers_before_and_after
from mmcompress.report.models import report as count
from mmcompress.report.onnx_files import RUNTIMES, compare_files
from mmcompress.report.overview import curves, interval, loss_parts, trade_offs
from mmcompress.report.page import page
from mmcompress.report.progress import progress_figures, read_progress
from mmcompress.report.runs import Run, find_runs, main_metric, read_run
from mmcompress.report.table import print_table, progress_bar, wide_console
from mmcompress.version import __version__

from .launch import load_config
from .report_samples import draw_samples, load_samples
from .runner import ToolRunner

TITLE = 'Compression report'
PAGE, JSON, PICTURES = 'report.html', 'report.json', 'figures'


@dataclass
class Networks:
    """What a run has made, built from its files.

    Attributes:
        cfg: The config with the data.
        shape: ``(C, H, W)`` of an image.
        dense: The dense network; its weights are those of a training for a dense run only.
        static: What a user runs, None where training has not come far enough.
        algorithm: What was trained, if its checkpoint is there and it is no plain network.
    """

    cfg: Config
    shape: tuple[int, int, int]
    dense: nn.Module
    static: nn.Module | None
    algorithm: CompressionAlgorithm | None

    @property
    def architecture(self) -> str:
        """Runs of one architecture and image size are compared with each other."""
        return f'{self.shape} {self.dense}'


def make_report(args: argparse.Namespace) -> dict[str, Any]:
    """Read and measure the runs of the arguments, and write the page.

    Returns:
        What ``report.json`` holds.

    Raises:
        CompressionError: If there are no runs, or a file is damaged.
    """
    check_installed(['matplotlib'], 'report')
    pairs = [(run, dict(read_run(run), notes=[], figures=[])) for run in find_runs(args.work_dirs)]
    pairs.sort(key=lambda pair: pair[1]['method'] != 'dense')
    found, runs = [run for run, _ in pairs], [row for _, row in pairs]
    metric = main_metric(runs, args.metric)
    built: list[Networks | None] = []
    with progress_bar() as bar:
        task = bar.add_task('reading', total=len(found))
        for run, row in zip(found, runs, strict=True):
            built.append(build_or_say_why(run, row, args.shape))
            bar.advance(task)
        task = bar.add_task('measuring', total=len(found))
        for index, (row, networks) in enumerate(zip(runs, built, strict=True)):
            row['metric'] = last_metric(row, networks, metric)
            if networks is not None and not measure_or_say_why(row, networks):
                built[index] = None
            bar.advance(task)
    runs = time_all(runs, built, args.repeats)
    if args.samples:
        add_samples(runs, built, args.samples)
    report = dict(
        title=TITLE,
        made=f'mmcompress {__version__}, torch {torch.__version__}, {platform.machine()}, '
        f'{torch.get_num_threads()} CPU threads.',
        metric=metric,
        notes=notes_of(runs, args.repeats),
        runs=runs,
        figures=[*curves(runs, metric), *trade_offs(runs, metric)],
    )
    return write(report, Path(args.out or 'report'))


def build_or_say_why(run: Run, row: dict[str, Any], shape: Sequence[int] | None) -> Networks | None:
    """The networks of a run; None, and a note in its row, where they can't be built."""
    try:
        return build(run, row, shape)
    except (CompressionError, OSError, ImportError) as error:
        row['notes'].append(f'Its network could not be built: {error}')
        return None


def build(run: Run, row: dict[str, Any], shape: Sequence[int] | None) -> Networks:
    """Build what a run has made.

    Raises:
        CompressionError: If a file is missing or damaged.
    """
    if run.config is None and run.export is None:
        raise CompressionError(f'{str(run.folder)!r} has no config')
    algorithm: Any = None
    static: Any = None
    cfg = load_config(str(run.config or Path(str(run.export), FILES[1])))
    sizes = image_shape(cfg, shape)
    model: Any = None
    if run.config is not None and run.checkpoint is not None:
        model = build_model(cfg)
        load_into(model, run.checkpoint)
        if isinstance(model, CompressionAlgorithm):
            algorithm = model
    if run.export is not None:
        exported = load_config(str(run.export / FILES[1]))
        static = build_model(exported)
        load_into(static, run.export / FILES[0])
    elif algorithm is not None:
        unfinished = algorithm.unfinished()
        if unfinished:
            row['notes'].append(f'Nothing to export yet: {unfinished}.')
        else:
            static = to_static(algorithm)
    preprocessor = cfg.get('data_preprocessor')
    if 'architecture' in cfg.model:
        dense = build_architecture(dense_config(cfg), preprocessor)
    elif is_sub_model(cfg.model):
        # An export, alone or trained on.
        dense = build_architecture(dense_part(cfg.model), preprocessor)
        static = static or model
    else:
        dense = model or build_model(cfg)
        static = model
    return Networks(cfg, sizes, dense.eval(), static and static.eval(), algorithm)


def last_metric(
    row: dict[str, Any], networks: Networks | None, metric: str | None
) -> dict[str, Any] | None:
    """The metric of a run's last evaluation, with its interval; another one where it lacks it."""
    found = (row['history'] or {}).get('metrics') or {}
    if not found:
        return None
    name = str(metric if metric in found else next(iter(found)))
    value = found[name]['y'][-1]
    images = None if networks is None else images_in(networks.cfg)
    return dict(name=name, value=value, interval=interval(name, value, images), images=images)


def measure_or_say_why(row: dict[str, Any], networks: Networks) -> bool:
    """Measure the networks of a run; False, and a note in its row, where they don't run."""
    try:
        measure(row, networks)
    except CompressionError as error:
        row['notes'].append(f'Not measured: {error}')
        return False
    diagnose(row, networks)
    return True


def measure(row: dict[str, Any], networks: Networks) -> None:
    """Put the figures of a run's networks into its row."""
    dense = count('dense', networks.dense, networks.shape)
    row['shape'] = list(networks.shape)
    row['dense'] = {key: dense[key] for key in ('params', 'macs')}
    if networks.static is None:
        return
    compact = count('compact', networks.static, networks.shape)
    row['params'], row['macs'] = compact['params'], compact['macs']
    row['stored_params'] = compact['params']
    counted = None if networks.algorithm is None else networks.algorithm.counted()
    if counted is not None:
        row['stored_params'] = sum(p.numel() for p in counted.parameters())
    if networks.static is networks.dense:
        buffer = io.BytesIO()
        torch.save(dict(state_dict=networks.dense.state_dict()), buffer)
        row['file_bytes'] = buffer.tell()


def diagnose(row: dict[str, Any], networks: Networks) -> None:
    """Put the figures of the method itself into a run's row."""
    row['figures'] += loss_parts(row)
    if any(Path(row['folder']).glob(f'*/{PROGRESS}')):
        row['figures'] += progress_figures(read_progress(row['folder']))
    if networks.algorithm is not None:
        row['figures'] += networks.algorithm.diagnostics(dense_start(networks.cfg))


def dense_start(cfg: Config) -> dict[str, Any] | None:
    """The weights of the dense network that a training began with, if its file is still there."""
    path = cfg.get('load_from')
    if not path or not Path(path).is_file():
        return None
    try:
        state = load_checkpoint_file(path)['state_dict']
    except CompressionError:
        return None  # it is another file by now
    inner = any(key.startswith(INNER) for key in state)
    return None if inner else state


def images_in(cfg: Config) -> int | None:
    """How many images a config validates on; None where its data isn't there."""
    loader = cfg.get('val_dataloader')
    if not loader:
        return None
    init_scope(cfg)
    try:
        built = ToolRunner.build_dataloader(
            dict(loader, num_workers=0, persistent_workers=False), seed=0
        )
    except CompressionError:
        return None
    return len(built.dataset)  # type: ignore[arg-type]


def time_all(
    runs: list[dict[str, Any]], built: Sequence[Networks | None], repeats: int
) -> list[dict[str, Any]]:
    """Time the networks of each architecture in turn, and put that into the rows.

    Returns:
        The rows; where no run is that of the dense network, one of it comes first.
    """
    groups: dict[str, list[int]] = {}
    for index, networks in enumerate(built):
        if networks is not None:
            groups.setdefault(networks.architecture, []).append(index)
    added = []
    for indices in groups.values():
        dense = first_dense(runs, built, indices)
        if dense is None:
            dense = untrained(runs[indices[0]])
            added.append(dense)
        group: list[Any] = [(runs[index], built[index]) for index in indices]
        time_group(dense, group, repeats)
    return [*added, *runs]


def first_dense(
    runs: list[dict[str, Any]], built: Sequence[Any], indices: Sequence[int]
) -> dict[str, Any] | None:
    """The row of a dense run among some."""
    found = (runs[i] for i in indices if built[i].static is built[i].dense)
    return next(found, None)


def untrained(like: dict[str, Any]) -> dict[str, Any]:
    """The row of a dense network that no run has trained."""
    figures = like['dense']
    return dict(
        name=f'dense network of {like["name"]}',
        method='dense',
        history=None,
        figures=[],
        notes=['None of the runs has trained it; its size and time are those of random weights.'],
        shape=like['shape'],
        dense=figures,
        params=figures['params'],
        stored_params=figures['params'],
        macs=figures['macs'],
    )


def time_group(
    dense: dict[str, Any], group: list[tuple[dict[str, Any], Networks]], repeats: int
) -> None:
    """Time the networks of one architecture, in torch and, where there are files, elsewhere."""
    first = group[0][1]
    mode = count('dense', first.dense, first.shape)['mode']
    with seeded():
        images, samples = demo_batch(first.dense, (1, *first.shape), mode)
    models: dict[str, nn.Module] = {'': first.dense}
    for row, networks in group:
        if networks.static is not None and networks.static is not networks.dense:
            models[row['name']] = networks.static
    calls = {name: OnImages(model, mode, samples) for name, model in models.items()}
    times = {row['name']: row for row in compare_latency(calls, images, repeats)}
    for row, networks in group:
        if row['name'] in calls:
            row['layers'] = layers_before_and_after(
                networks.dense, models[row['name']], networks.shape, mode, networks.algorithm
            )
            add_times(row['layers'], calls[''], calls[row['name']], images, repeats)
            row['figures'] += layer_figures(row['layers'])
    put_time(dense, times[''], is_dense=True)
    for row, networks in group:
        if networks.static is not None:
            is_dense = networks.static is networks.dense
            put_time(row, times['' if is_dense else row['name']], is_dense)
    time_files([row for row, _ in group], images, repeats)


def put_time(row: dict[str, Any], time: dict[str, Any], is_dense: bool) -> None:
    """Put the time in torch into a row; that of a compact network with its share of the dense."""
    found = dict(ms=time['median_ms'], iqr_ms=time['iqr_ms'])
    if not is_dense:
        found |= dict(ratio=time['ratio'], ratio_iqr=time['ratio_iqr'])
    row['latency'] = dict(torch=found)
    row['latency_ms'] = time['median_ms']


def add_samples(rows: list[dict[str, Any]], built: Sequence[Networks | None], count: int) -> None:
    """Put predictions on some images into the rows of compact runs, those of the dense beside."""
    # Rows of dense networks that no run has trained come first.
    pairs = list(zip(rows[len(rows) - len(built) :], built, strict=True))
    trained = {
        networks.architecture: networks.dense
        for _, networks in pairs
        if networks is not None and networks.static is networks.dense
    }
    for row, networks in pairs:
        if networks is None or networks.static in (None, networks.dense):
            continue
        dense = trained.get(networks.architecture) or started_from(networks)
        models: dict[str, Any] = {} if dense is None else dict(dense=dense)
        models['compact'] = networks.static
        init_scope(networks.cfg)
        try:
            batches, classes = load_samples(networks.cfg, count)
            row['samples'] = draw_samples(batches, models, classes)
        except Exception as error:  # whatever data and models of a user raise
            reason = ' '.join(str(error).split()) or type(error).__name__
            row['notes'].append(f'No predictions are shown: {reason[:200]}')


def started_from(networks: Networks) -> nn.Module | None:
    """The dense network that a training began with, if its weights are still there."""
    state = dense_start(networks.cfg)
    if state is None:
        return None
    try:
        check_fits(networks.dense, state, networks.cfg.load_from)
    except CompressionError:
        return None
    networks.dense.load_state_dict(state)
    return networks.dense


def time_files(rows: list[dict[str, Any]], images: Any, repeats: int) -> None:
    """Time the ONNX files of exports, in the runtimes that are installed."""
    files = {
        path: (row, '8 bits' if path.name == INT8_FILES[0] else '')
        for row in rows
        if row.get('export')
        for path in (Path(row['export'], name) for name in (ONNX_FILE, INT8_FILES[0]))
        if path.is_file()
    }
    for runtime in RUNTIMES if files else ():
        try:
            check_installed([runtime], 'report')
            timed = compare_files(list(files), images, [runtime], repeats)
        except Exception as error:  # of a runtime: it has types of its own for each cause
            for row in {id(row): row for row, _ in files.values()}.values():
                row['notes'].append(f'Not timed in {runtime}: {" ".join(str(error).split())[:200]}')
            continue
        for (row, kind), time in zip(files.values(), timed, strict=True):
            name = ', '.join(filter(None, (runtime, kind)))
            row['latency'] = row.get('latency') or {}
            row['latency'][name] = dict(ms=time['ms'], iqr_ms=time['iqr_ms'])


def notes_of(runs: Sequence[dict[str, Any]], repeats: int) -> list[str]:
    """What the table over all runs doesn't say itself."""
    notes = [
        'A metric is that of the last evaluation during training. Below it stands the 95 % '
        'interval of the images it was evaluated on, where these are right or wrong each. '
        'Trainings with other seeds differ beyond that.'
    ]
    if any(run.get('latency') for run in runs):
        notes.append(
            f'Latency is the median of {repeats} forward passes of one image, ± their '
            'interquartile range; the networks of one architecture are timed in turn. A time is '
            'within the spread where it differs from that of the dense network by no more than '
            'this range. Training is the time of all steps up to the last one in the log, without '
            'evaluations.'
        )
    if any(run.get('file_bytes') is None and run['method'] != 'dense' for run in runs):
        notes.append('A run without a file has not been exported; `mmcompress export` does so.')
    return notes


def write(report: dict[str, Any], out: Path) -> dict[str, Any]:
    """Write the page, its pictures and its numbers; all of them, or none.

    Returns:
        The report with its figures as JSON holds them.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent) as scratch:
        stage = Path(scratch)
        (stage / PAGE).write_text(page(report), encoding='utf-8')
        plain = finite(with_plain_figures(report, stage / PICTURES))
        text = json.dumps(plain, indent=1, allow_nan=False)
        (stage / JSON).write_text(text + '\n', encoding='utf-8')
        (out / PICTURES).mkdir(parents=True, exist_ok=True)
        for old in (out / PICTURES).glob('*.png'):
            old.unlink()  # of an earlier report
        for file in sorted(path for path in stage.rglob('*') if path.is_file()):
            os.replace(file, out / file.relative_to(stage))
    return plain


def with_plain_figures(report: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The report with figures and samples as dicts, drawn to PNGs that the dicts name."""

    def plain(figures: Sequence[Any], prefix: str) -> list[dict[str, Any]]:
        found = []
        for figure in figures:
            name = f'{prefix}{figure.name}.png'
            png(figure, folder / name)
            found.append(dict(figure.as_dict(), png=f'{PICTURES}/{name}'))
        return found

    def pictures(samples: Sequence[Any], prefix: str) -> list[dict[str, Any]]:
        found = []
        for sample in samples:
            panels = []
            for said in sample['panels']:
                name = f'{prefix}image-{sample["index"]}-{slug(said.name)}.png'
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes(said.png)
                panels.append(dict(name=said.name, text=said.text, png=f'{PICTURES}/{name}'))
            found.append(dict(index=sample['index'], panels=panels))
        return found

    runs = []
    for index, run in enumerate(report['runs'], 1):
        prefix = f'{index}-{slug(run["name"])}-'
        runs.append(dict(run, figures=plain(run['figures'], prefix)))
        if 'samples' in run:
            runs[-1]['samples'] = pictures(run['samples'], prefix)
    return dict(report, runs=runs, figures=plain(report['figures'], ''))


def finite(value: Any) -> Any:
    """The same in types that JSON has; numbers that are not finite become None."""
    if isinstance(value, dict):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    if isinstance(value, (str, bool, int, type(None))):
        return value
    number = float(value)
    return number if math.isfinite(number) else None


def slug(name: str) -> str:
    """A name as a part of a file's."""
    return re.sub(r'[^\w.-]+', '-', name)


def show(report: dict[str, Any], out: str | None) -> None:
    """Print what the page says in one line a run, and where it is."""
    names = {run['metric']['name'] for run in report['runs'] if run.get('metric')}
    rows = []
    for run in report['runs']:
        found = run.get('metric') or {}
        row = dict(run=run['name'], method=run['method'])
        if len(names) == 1:
            row[next(iter(names))] = found.get('value')
        elif names:
            row |= dict(metric=found.get('name'), value=found.get('value'))
        row |= dict(
            params=run.get('stored_params'),
            macs=run.get('macs'),
            bytes=run.get('file_bytes'),
            ms=run.get('latency_ms'),
        )
        rows.append(row)
    print_table(rows, title=report['title'], console=wide_console())
    for run in report['runs']:
        for note in run['notes']:
            print(f'{run["name"]}: {note}')
    print(f'written to {Path(out or "report", PAGE)}')
