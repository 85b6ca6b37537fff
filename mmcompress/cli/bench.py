"""Time the dense against the compact model of a config, in turn in one process.

CONFIG is a compression config, a dense config with `--compress`, or the `compact.py` of an
export. Without a checkpoint the weights are random, which does not change the time.

A third model is timed for comparison: `squeeze-expand`, as Li et al. (CVPR 2019) run a pruned
network. It selects the channels that are left, convolves, and writes the result into zeros of full
width.

The columns are those of the published tables: reductions in percent. Hooks measure the time of
convolutions in the real forward pass. `--layers` also times each narrowed convolution alone.

With `--table` it times the layers of the model by themselves, at the widths that its units may
have, in `--runtime`: budgets of latency are solved with these times (docs/latency.md), which are
kept. `--table FILE` shows those of another machine. `--shapes FILE` writes what such a machine is
to time.

With `--files` it times ONNX files instead, each in onnxruntime and OpenVINO, in turn in one
process, on an image of the training data of CONFIG.

Example:
    mmcompress bench mmpretrain::resnet/resnet34_8xb32_in1k.py --compress dcff_r34 --layers
    mmcompress bench CONFIG --table --runtime onnxruntime
    mmcompress bench CONFIG --files export/compact.onnx export/compact_int8.onnx
"""

from __future__ import annotations

import argparse
import platform
from pathlib import Path
from typing import Any

from .options import (
    LAYER_RUNTIMES,
    RUNTIMES,
    add_config_arguments,
    add_json_argument,
    add_shape_argument,
    add_threads_argument,
    give_json,
    prints_json,
)

#: What `--table` is without a file.
THIS_MACHINE = ' '
#: The program that times layers; it needs nothing else of ours.
TIMER = Path(__file__).resolve().parent.parent / 'latency' / 'time_layers.py'
#: Columns of the printed tables and their titles; JSON has all columns.
MODEL_COLUMNS = dict(
    runtime='runtime',
    threads='threads',
    batch_size='batch',
    model='model',
    flops_down='model FLOPs down %',
    time_down='model time down %',
    conv_flops_down='conv FLOPs down %',
    conv_time_down='conv time down %',
    quotient='time / FLOPs',
    squeeze_share='squeeze %',
    conv_share='conv %',
    expand_share='expand %',
)
LAYER_COLUMNS = dict(
    layer='layer',
    count='alike',
    threads='threads',
    batch_size='batch',
    input='input',
    channels='channels',
    kept='kept',
    flops_down='FLOPs down %',
    time_down='plain narrower conv time down %',
    squeeze_expand_time_down='squeeze-conv-expand time down %',
    quotient='time / FLOPs',
    squeeze_share='squeeze %',
    conv_share='conv %',
    expand_share='expand %',
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command line may say."""
    add_config_arguments(parser)
    parser.add_argument('checkpoint', nargs='?', help='checkpoint of the model of the config')
    add_shape_argument(parser)
    parser.add_argument(
        '--batch-sizes', type=int, nargs='+', default=[1], metavar='N', help='images in a batch'
    )
    add_threads_argument(parser, default=[1], several=True)
    parser.add_argument('--repeats', type=int, default=30, help='number of timed rounds')
    parser.add_argument('--fold-bn', action='store_true', help='also time with batch norms folded')
    parser.add_argument(
        '--channels-last', action='store_true', help='also time the channels-last layout'
    )
    parser.add_argument('--compile', action='store_true', help='also time torch.compile')
    parser.add_argument('--onnx', action='store_true', help='also time onnxruntime')
    parser.add_argument('--layers', action='store_true', help='also time each convolution alone')
    parser.add_argument(
        '--files', nargs='+', metavar='FILE.onnx', help='time these ONNX files, and nothing else'
    )
    parser.add_argument(
        '--table',
        nargs='?',
        const=THIS_MACHINE,
        metavar='FILE',
        help='time layers at several widths, and nothing else; or show a table made elsewhere',
    )
    parser.add_argument(
        '--shapes', metavar='FILE', help='write what --table would time, for another machine'
    )
    parser.add_argument(
        '--runtime',
        choices=LAYER_RUNTIMES,
        default=LAYER_RUNTIMES[0],
        help='in what --table times layers (default: onnxruntime)',
    )
    parser.add_argument(
        '--runtimes',
        nargs='+',
        choices=RUNTIMES,
        default=list(RUNTIMES),
        help='what runs the files (default: all)',
    )
    add_json_argument(parser)


def main(args: argparse.Namespace) -> None:
    """Measure, and show tables."""
    from .launch import results_on_stdout

    check(args)
    if args.table or args.shapes:
        time_table(args)
        return
    with results_on_stdout():
        result = measure_files(args) if args.files else measure(args)
    give_json(result, args.json)
    if not prints_json(args.json):
        show_files(result) if args.files else show(result)


def time_table(args: argparse.Namespace) -> None:
    """Make or show a table of times, or write the shapes of one."""
    from mmcompress.core.base.image_shape import image_shape

    from .launch import load_config, results_on_stdout
    from .timing import make_table, show_table, write_shapes

    with results_on_stdout():
        cfg = load_config(args.config, args.compress, args.cfg_options)
        budget = dict(
            runtime=args.runtime,
            threads=args.threads[0],
            batch=args.batch_sizes[0],
            input_shape=image_shape(cfg, args.shape),
        )
        if args.shapes:
            points = write_shapes(cfg, budget, args.shapes)
        else:
            if args.table != THIS_MACHINE:
                budget['table'] = args.table
            result = make_table(cfg, budget)
    if args.shapes:
        print(f'written to {args.shapes}: {points} points; time them on the other machine with')
        print(f'    python {TIMER} {args.shapes} -o table.json --runtime {args.runtime}')
        return
    give_json(result, args.json)
    if not prints_json(args.json):
        show_table(result)


def check(args: argparse.Namespace) -> None:
    """Check that all numbers are positive.

    Raises:
        CompressionError: If one is not.
    """
    from mmcompress.core.errors import CompressionError

    for name, values in (
        ('--batch-sizes', args.batch_sizes),
        ('--threads', args.threads),
        ('--repeats', [args.repeats]),
    ):
        wrong = [value for value in values if value < 1]
        if wrong:
            raise CompressionError(f'{name} is {wrong[0]}; give 1 or more')


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Measure what the arguments ask for, in full precision.

    Raises:
        CompressionError: If the config makes no narrower model.
    """
    import torch

    from mmcompress.core.base.image_shape import image_shape
    from mmcompress.core.errors import CompressionError
    from mmcompress.report.benchmark import Benchmark
    from mmcompress.report.models import dense_and_compact
    from mmcompress.report.runtimes import runtimes
    from mmcompress.report.table import progress_bar

    from .launch import load_config

    cfg = load_config(args.config, args.compress, args.cfg_options)
    shape = image_shape(cfg, args.shape)
    ways = runtimes(args.fold_bn, args.channels_last, args.compile, args.onnx)
    models = dense_and_compact(cfg, args.checkpoint)
    if 'compact' not in models:
        raise CompressionError(
            f'{args.config} makes no compact model; give a compression config, an exported '
            'compact.py, or a method file with --compress'
        )
    if 'static' in models:
        raise CompressionError(
            f'{args.config} gives convolutions a basis instead of making them narrower; '
            '`mmcompress export --report` times such a model'
        )
    with progress_bar() as bar:
        task = bar.add_task('timing', total=None)
        benchmark = Benchmark(**models, shape=shape, repeats=args.repeats)
        settings = len(args.threads) * len(args.batch_sizes)
        steps = len(ways) + (len(benchmark.kinds) if args.layers else 0)
        bar.update(task, total=settings * steps)
        benchmark.advance = lambda: bar.advance(task)
        by_model = benchmark.by_model(ways, args.threads, args.batch_sizes)
        by_layer = [
            row
            for threads in args.threads
            for batch_size in args.batch_sizes
            if args.layers
            for row in benchmark.by_layer(threads, batch_size)
        ]
    return dict(
        config=args.config,
        shape=shape,
        repeats=args.repeats,
        torch=torch.__version__,
        machine=platform.machine(),
        macs=benchmark.macs,
        conv_macs=benchmark.conv_macs,
        models=by_model,
        layers=by_layer,
    )


def measure_files(args: argparse.Namespace) -> dict[str, Any]:
    """Time ONNX files, on an image of the training data or a random one of the shape given.

    Raises:
        CompressionError: If a file, a runtime or the data are missing.
    """
    import torch

    from mmcompress.core.base.build import build_model
    from mmcompress.core.base.image_shape import image_shape
    from mmcompress.core.errors import CompressionError
    from mmcompress.report.onnx_files import compare_files

    from .calibration import Calibration
    from .launch import load_config

    missing = [file for file in args.files if not Path(file).is_file()]
    if missing:
        raise CompressionError(f'--files: there is no file {missing[0]!r}')
    cfg = load_config(args.config, args.compress, args.cfg_options)
    if args.shape:
        image = torch.randn(1, *image_shape(cfg, args.shape))
    else:
        preprocessor: Any = build_model(cfg).data_preprocessor
        image = torch.from_numpy(next(Calibration(cfg, 1).images(preprocessor)))
    rows = []
    for threads in args.threads:
        for size in args.batch_sizes:
            images = image.repeat(size, 1, 1, 1)
            found = compare_files(args.files, images, args.runtimes, args.repeats, threads)
            rows += [dict(threads=threads, batch_size=size, **row) for row in found]
    return dict(
        config=args.config,
        shape=tuple(image.shape[1:]),
        repeats=args.repeats,
        machine=platform.machine(),
        files=rows,
    )


def show_files(result: dict[str, Any]) -> None:
    """Print the times of files."""
    from mmcompress.report.table import print_table, wide_console

    rows = [
        {
            'runtime': row['runtime'],
            'threads': row['threads'],
            'batch': row['batch_size'],
            'file': row['file'],
            'MB': f'{row["bytes"] / 1e6:.2f}',
            'ms': f'{row["ms"]:.4g} ± {row["iqr_ms"]:.2g}',
            'ratio': f'{row["ratio"]:.3f} ± {row["ratio_iqr"]:.2g}',
        }
        for row in result['files']
    ]
    title = f'{"x".join(map(str, result["shape"]))}: median ± interquartile range'
    print_table(rows, title=title, console=wide_console())


def show(result: dict[str, Any]) -> None:
    """Print the tables."""
    from mmcompress.report.table import print_table, wide_console

    console = wide_console()
    title = f'{result["config"]} at {"x".join(map(str, result["shape"]))}'
    rows = [
        {
            **{title: row.get(key) for key, title in MODEL_COLUMNS.items()},
            'dense ms': f'{row["dense_ms"]:.4g} ± {row["dense_iqr_ms"]:.2g}',
            'ms': f'{row["ms"]:.4g} ± {row["iqr_ms"]:.2g}',
        }
        for row in result['models']
    ]
    print_table(rows, title=f'{title} (median ± interquartile range)', console=console)
    if result['layers']:
        rows = [
            {title: row[key] for key, title in LAYER_COLUMNS.items()} for row in result['layers']
        ]
        print_table(rows, title='convolutions by themselves, eager', console=console)
