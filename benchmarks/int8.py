"""Metric, size and time of exports in float32 and in 8 bits, in onnxruntime and in OpenVINO.

For each work dir of a finished training (its config and last checkpoint): an end-to-end export in
float32 and in 8 bits, the metric of `compact.pth` in torch and of both files in each runtime, on
the test data of the config; then the time of one image, all files of a training in turn.

Example:
    mmcompress train configs/demo/dcff_resnet20_digits.py
    python benchmarks/int8.py work_dirs/dcff_resnet20_digits --out exports --json int8.json
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import mmcompress  # noqa: F401

# isort: split
import torch
from mmengine.config import Config

from mmcompress.cli.calibration import Calibration
from mmcompress.cli.exporting import export_checkpoint
from mmcompress.cli.launch import load_config, results_on_stdout, run
from mmcompress.cli.options import (
    RUNTIMES,
    add_json_argument,
    give_json,
    prints_json,
    separate_json,
)
from mmcompress.cli.quantizing import Int8Options, drop_in_points, main_metric
from mmcompress.cli.testing import metrics_of
from mmcompress.core.base.build import build_model
from mmcompress.core.base.image_shape import image_shape
from mmcompress.core.errors import CompressionError
from mmcompress.core.export.checkpoint import load_into
from mmcompress.core.export.onnx_predictor import OnnxPredictor
from mmcompress.report.onnx_files import RUNTIMES as SESSIONS
from mmcompress.report.onnx_files import compare_files
from mmcompress.report.table import print_table, progress_bar, wide_console

FLOAT, INT8 = 'fp32', 'int8'


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Metric, size and time of exports in float32 and in 8 bits'
    )
    parser.add_argument('work_dir', nargs='+', help='with the config and the last checkpoint')
    parser.add_argument('--out', required=True, help='folder for the exports, one in it for each')
    parser.add_argument('--calib', type=int, default=200, help='images to calibrate with')
    parser.add_argument('--max-drop', type=float, metavar='POINTS', help='as of the export')
    parser.add_argument('--full-range', action='store_true', help='as of the export')
    parser.add_argument('--runtimes', nargs='+', choices=RUNTIMES, default=list(RUNTIMES))
    parser.add_argument('--threads', type=int, default=1, help='threads of a runtime')
    parser.add_argument('--repeats', type=int, default=50, help='timed rounds; 0 times nothing')
    add_json_argument(parser)
    return parser.parse_args(separate_json(sys.argv[1:]))


def training(folder: Path) -> tuple[Path, Path]:
    """The config and the last checkpoint of a work dir.

    Raises:
        CompressionError: If one of them is missing.
    """
    configs = list(folder.glob('*.py'))
    last = folder / 'last_checkpoint'
    if len(configs) != 1 or not last.is_file():
        raise CompressionError(
            f'work_dir: {str(folder)!r} has not one config and a last_checkpoint; give the work '
            'dir of a finished training'
        )
    return configs[0], folder / Path(last.read_text(encoding='utf-8').strip()).name


def measure(folder: Path, args: argparse.Namespace) -> list[dict[str, Any]]:
    """The rows of one training."""
    config, checkpoint = training(folder)
    cfg = load_config(config)
    out = Path(args.out, folder.name)
    result = export_checkpoint(
        cfg,
        checkpoint,
        out,
        overwrite=True,
        onnx_shape=image_shape(cfg, None),
        onnx=dict(outputs='end2end'),
        int8=Int8Options(calib=args.calib, max_drop=args.max_drop, full_range=args.full_range),
    )
    model = build_model(Config.fromfile(result['config'])).eval()
    load_into(model, result['checkpoint'])
    in_torch = metrics_of(cfg, model)
    name = main_metric(in_torch)
    files = {FLOAT: Path(result['onnx']), INT8: Path(result['int8']['int8'])}
    about = dict(training=folder.name, metric=name, torch=in_torch[name])
    layers = len(result['int8']['layers'])
    kept = {FLOAT: layers, INT8: len(result['int8']['kept'])}
    rows = []
    for runtime in args.runtimes:
        values = {}
        for precision, file in files.items():
            session = SESSIONS[runtime](file, args.threads)
            predictor = OnnxPredictor(session, model.data_preprocessor)
            values[precision] = metrics_of(cfg, predictor)[name]
            row = dict(
                **about,
                layers=layers,
                kept=kept[precision],
                runtime=runtime,
                precision=precision,
                value=values[precision],
                drop=drop_in_points(values[FLOAT], values[precision]),
                bytes=file.stat().st_size,
            )
            rows.append(row)
    if args.repeats:
        image = torch.from_numpy(next(Calibration(cfg, 1).images(model.data_preprocessor)))
        times = compare_files(
            list(files.values()), image, args.runtimes, args.repeats, args.threads
        )
        for row, time in zip(rows, times, strict=True):
            row |= {key: time[key] for key in ('ms', 'iqr_ms', 'ratio', 'ratio_iqr')}
    return rows


def shown(row: dict[str, Any]) -> dict[str, Any]:
    """A row as the terminal shows it."""
    cells = {
        'training': row['training'],
        'runtime': row['runtime'],
        'file': row['precision'],
        'layers in float32': f'{row["kept"]} of {row["layers"]}',
        'MB': f'{row["bytes"] / 1e6:.2f}',
        'metric': row['metric'],
        'torch': f'{row["torch"]:.4g}',
        'value': f'{row["value"]:.4g}',
        'drop, points': f'{row["drop"]:.2f}',
    }
    if 'ms' in row:
        cells['ms'] = f'{row["ms"]:.3g} ± {row["iqr_ms"]:.2g}'
        cells['time / first'] = f'{row["ratio"]:.2f}'
    return cells


def main() -> None:
    args = parse_args()
    for name, least in (('calib', 1), ('threads', 1), ('repeats', 0)):
        if getattr(args, name) < least:
            raise CompressionError(f'--{name} is {getattr(args, name)}; give {least} or more')
    folders = [Path(folder) for folder in args.work_dir]
    for folder in folders:
        training(folder)
    with results_on_stdout(), progress_bar() as bar:
        rows = [
            row
            for folder in bar.track(folders, description='exports')
            for row in measure(folder, args)
        ]
    give_json(rows, args.json)
    if not prints_json(args.json):
        title = f'{args.threads} thread, one image, {args.repeats} rounds; {args.calib} images'
        print_table([shown(row) for row in rows], title=title, console=wide_console())


if __name__ == '__main__':
    run(main)
