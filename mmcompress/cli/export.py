"""Turn a trained algorithm into a static model of plain torch layers.

Writes compact.pth, compact.py and fix_subnet.json after comparing the static model with the
trained one on random images and on the config's own validation data; with --onnx also
compact.onnx, compared by onnxruntime.

Example:
    mmcompress export configs/demo/dcff_resnet20_digits.py work_dirs/x/epoch_15.pth
    mmcompress export CONFIG CHECKPOINT --onnx --int8  # also compact_int8.onnx
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .options import (
    LAYER_RUNTIMES,
    add_config_arguments,
    add_json_argument,
    add_out_argument,
    add_shape_argument,
    give_json,
    prints_json,
)

#: By which quantity the static forms of ops can be chosen.
PREFERENCES = ('macs', 'params', 'latency')
#: Those of :mod:`mmcompress.core.export.export`, which a help text can't wait for.
STORES = ('smallest', 'weights')
DTYPES = ('float32', 'float16', 'bfloat16')
OUTPUTS = ('raw', 'end2end')
ONNX_DTYPES = ('float32', 'float16')
#: An earlier name of the first of the stores.
EARLIER = dict(factors='smallest')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command line may say."""
    add_config_arguments(parser)
    parser.add_argument('checkpoint', nargs='?')
    add_out_argument(parser, 'folder to write to; by default `export` beside the checkpoint')
    parser.add_argument(
        '--batches', type=int, default=2, help='number of validation batches to compare on'
    )
    parser.add_argument(
        '--fold-bn',
        action='store_true',
        help='make batch norms part of the convolutions in front of them; for inference only',
    )
    parser.add_argument(
        '--deploy',
        action='store_true',
        help='merge the branches of re-parameterised blocks (as in RepVGG); for inference only',
    )
    parser.add_argument(
        '--onnx',
        nargs='?',
        const='raw',
        choices=OUTPUTS,
        help='also write compact.onnx, for images of any number and size, with what the network '
        'returns (raw, the default) or with what its library predicts: boxes, key points, label '
        'maps (end2end); compact.onnx.md beside it says how to use it',
    )
    parser.add_argument(
        '--opset', type=int, help='version of the operators in compact.onnx; by default 18'
    )
    parser.add_argument(
        '--onnx-dtype',
        choices=ONNX_DTYPES,
        default='float32',
        help='what compact.onnx holds matrices of weights in; everything is calculated in float32',
    )
    parser.add_argument(
        '--openvino',
        action='store_true',
        help='also write the graph of --onnx as compact.xml and compact.bin for OpenVINO',
    )
    parser.add_argument(
        '--prefer',
        choices=PREFERENCES,
        default='macs',
        help='convolutions with a basis are exported factored or merged: in the form with the '
        'fewest MACs, the fewest parameters, or the least time measured on this machine',
    )
    parser.add_argument(
        '--runtime',
        choices=LAYER_RUNTIMES,
        help='in what --prefer latency and --report time layers, on one thread (default: '
        'onnxruntime with --onnx, openvino with --openvino, torch otherwise)',
    )
    parser.add_argument(
        '--store',
        type=lambda name: EARLIER.get(name, name),
        choices=STORES,
        default='smallest',
        help='what compact.pth holds: of each layer the fewest numbers that make its weights '
        '(bases, coefficients, combinations), or weights alone. Whatever loads the file through '
        'compact.py, or by mmcompress.load_compact, makes the weights again',
    )
    parser.add_argument(
        '--dtype',
        choices=DTYPES,
        default='float32',
        help='what compact.pth holds matrices in; loading makes them float32 again',
    )
    parser.add_argument(
        '--slim',
        action='store_true',
        help='instead of an export: write the checkpoint without the state of the optimizer, to '
        '-o (by default beside it, as slim_NAME)',
    )
    parser.add_argument(
        '--report',
        action='store_true',
        help='compare parameters, MACs and latency of the exported and the dense model',
    )
    add_int8_arguments(parser)
    add_shape_argument(parser)
    parser.add_argument('--overwrite', action='store_true', help='replace an earlier export')
    add_json_argument(parser)


def add_int8_arguments(parser: argparse.ArgumentParser) -> None:
    """How to write a file in 8 bits."""
    group = parser.add_argument_group(
        '8 bits',
        'compact_int8.onnx, made of compact.onnx by the static quantization of onnxruntime',
    )
    group.add_argument('--int8', action='store_true', help='write it, and compact.onnx')
    group.add_argument(
        '--calib',
        type=int,
        default=200,
        metavar='N',
        help="how many of the config's training images to calibrate with (default 200)",
    )
    group.add_argument(
        '--min-sqnr',
        type=float,
        default=20,
        metavar='DB',
        help='the layers that make the largest errors stay in float32 until the outputs of the '
        'network have this signal to noise, in decibels (default 20, an error of 10 %%)',
    )
    group.add_argument(
        '--max-drop',
        type=float,
        metavar='POINTS',
        help='and until the metric on the test data of the config has dropped by no more than '
        'this; needs --onnx end2end',
    )
    group.add_argument(
        '--int8-keep',
        nargs='+',
        default=[],
        metavar='LAYER',
        help='layers that stay in float32 anyway, such as backbone.conv1, or backbone.layer4 for '
        'all below',
    )
    group.add_argument(
        '--full-range',
        action='store_true',
        help='use all 8 bits of weights; by default 7, since sums overflow with 8 on x86 without '
        'VNNI',
    )


def int8_options(args: argparse.Namespace) -> Any:
    """The options of 8 bits, None without ``--int8``."""
    if not args.int8:
        return None
    from .quantizing import Int8Options

    return Int8Options(
        calib=args.calib,
        keep=args.int8_keep,
        min_sqnr=args.min_sqnr,
        max_drop=args.max_drop,
        full_range=args.full_range,
    )


def main(args: argparse.Namespace) -> None:
    """Export, and say how close the result is; or write a slim checkpoint."""
    if args.slim:
        slim_checkpoint(args)
        return
    if args.checkpoint is None:
        from mmcompress.core.errors import CompressionError

        raise CompressionError(
            'checkpoint is missing; give the config and the checkpoint of a training'
        )
    from mmcompress.core.base.image_shape import image_shape

    from .exporting import export_checkpoint
    from .launch import load_config, results_on_stdout

    if args.int8:
        args.onnx = args.onnx or OUTPUTS[0]
    check_onnx_options(args)
    out = Path(args.out) if args.out else Path(args.checkpoint).parent / 'export'
    with results_on_stdout():
        cfg = load_config(args.config, args.compress, args.cfg_options)
        shape = image_shape(cfg, args.shape) if args.onnx or args.shape else None
        result = export_checkpoint(
            cfg,
            args.checkpoint,
            out,
            batches=args.batches,
            overwrite=args.overwrite,
            fold_bn=args.fold_bn,
            deploy=args.deploy,
            onnx_shape=shape if args.onnx else None,
            onnx=dict(outputs=args.onnx, opset=args.opset, dtype=args.onnx_dtype),
            openvino=args.openvino,
            prefer=args.prefer,
            runtime=runtime_of(args),
            shape=shape,
            with_report=args.report,
            store=args.store,
            dtype=args.dtype,
            int8=int8_options(args),
        )
    give_json(result, args.json)
    if not prints_json(args.json):
        show(result, out, args.dtype)


def runtime_of(args: argparse.Namespace) -> str:
    """In what layers are timed: as given, or what the export is for."""
    if args.runtime:
        return str(args.runtime)
    return 'openvino' if args.openvino else 'onnxruntime' if args.onnx else 'torch'


def check_onnx_options(args: argparse.Namespace) -> None:
    """See that no option of an ONNX file is given without the file that it is about.

    Raises:
        CompressionError: If one is.
    """
    from mmcompress.core.errors import CompressionError

    given = dict(opset=args.opset, openvino=args.openvino or None)
    given['onnx-dtype'] = args.onnx_dtype if args.onnx_dtype != 'float32' else None
    for name, value in given.items():
        if value is not None and args.onnx is None:
            raise CompressionError(f'--{name} says how --onnx writes its file; give --onnx too')
    if args.max_drop is not None and args.onnx != 'end2end':
        raise CompressionError(
            f'--max-drop is {args.max_drop}: only a file of predictions has a metric; give '
            '--onnx end2end too'
        )


def slim_checkpoint(args: argparse.Namespace) -> None:
    """Drop what a checkpoint holds for training alone, and say how much that is."""
    from mmcompress.core.errors import CompressionError
    from mmcompress.core.export.checkpoint import slim

    if args.checkpoint is not None:
        raise CompressionError(
            f'--slim: it takes a checkpoint alone, and {args.checkpoint!r} is one argument more'
        )
    path = Path(args.config)
    out = Path(args.out) if args.out else path.with_name(f'slim_{path.name}')
    parts = slim(path, out)
    before, after = path.stat().st_size, out.stat().st_size
    give_json(dict(parts=parts, bytes_before=before, bytes_after=after, out=str(out)), args.json)
    if not prints_json(args.json):
        held = ', '.join(f'{key} {size / 1e6:.2f} MB' for key, size in parts.items())
        print(f'{path} holds {held}')
        print(f'written to {out}: {before / 1e6:.2f} MB -> {after / 1e6:.2f} MB')


def show(result: dict, out: Path, dtype: str) -> None:
    """Print what was written, and the report if there is one."""
    if result.get('report'):
        from rich.console import Console

        from mmcompress.report import print_table

        print_table(table(result['report']), title=str(out), console=Console())
        print(slow_line(result['layers']))
    if result.get('int8'):
        show_int8(result['int8'])
    if result.get('forms'):
        forms = ', '.join(f'{count} {form}' for form, count in result['forms'].items())
        print(f'layers with a basis: {forms}')
    factored = f', {result["factored"]} weights as factors' if result['factored'] else ''
    print(
        f'written to {out} ({dtype}{factored}, {result["checkpoint_bytes"] / 1e6:.3f} MB); largest '
        f'difference to the trained model {result["max_difference"]:.2g} on random images and '
        f'{result["batches"]} batches'
    )
    if 'onnx' in result:
        print(onnx_line(result))


def slow_line(layers: dict) -> str:
    """Which layers' MACs fell without their time."""
    slow, runtime = layers['slow'], layers['runtime']
    if not slow:
        return f'no layer lost MACs without losing time in {runtime}'
    from mmcompress.latency.layers import some_of

    return (
        f'MACs fell without their time in {runtime}: {some_of(slow)}; widths in '
        "multiples of 16 mostly help (budget with divisor='auto')"
    )


def onnx_line(result: dict) -> str:
    """One sentence about the ONNX file."""
    gaps = result.get('onnx_differences', {})
    found = ', '.join(f'{name} {gap:.2g}' for name, gap in gaps.items())
    if 'openvino_differences' in result:
        gaps = result['openvino_differences']
        found += '; in OpenVINO ' + ', '.join(f'{name} {gap:.2g}' for name, gap in gaps.items())
    return (
        f'{result["onnx"]} ({result["onnx_bytes"] / 1e6:.3f} MB, opset {result["opset"]}): '
        f'{", ".join(result["names"])}; free are {", ".join(result["free"])}; largest difference '
        f'{found or format(result["onnx_difference"], ".2g")}'
    )


def show_int8(result: dict) -> None:
    """Print the errors of layers, and what the file in 8 bits is like."""
    from rich.console import Console

    from mmcompress.report import print_table

    rows = [
        {
            'layer': row['layer'],
            'type': row['op'],
            'weights': row['weights'],
            'alone, dB': f'{row["alone_db"]:.1f}',
            'precision': row['precision'],
        }
        for row in result['layers']
    ]
    title = (
        'signal to noise of the outputs with one layer alone in 8 bits; all together '
        f'{result["sqnr_db"]:.1f} dB on {result["images"]} training images'
    )
    print_table(rows, title=title, console=Console())
    print(
        f'written to {result["int8"]} ({result["int8_bytes"] / 1e6:.3f} MB, in float32 '
        f'{result["float_bytes"] / 1e6:.3f} MB); {len(result["kept"])} of {len(rows)} layers '
        'stay in float32'
    )
    if 'drop' in result:
        print(
            f'{result["metric"]} {result["metric_fp32"]:.4g} in float32, '
            f'{result["metric_int8"]:.4g} in 8 bits'
        )


def table(rows: list[dict]) -> list[dict[str, str]]:
    """The report as a terminal shows it."""
    return [
        {
            'model': row['model'],
            'stored params': f'{row["stored_params"]:,}',
            'run-time params': f'{row["runtime_params"]:,}',
            'MACs': f'{row["macs"] / 1e6:.2f}M',
            'latency': f'{row["latency_ms"]:.2f} ms ({row["latency_ratio"]:.2f})',
        }
        for row in rows
    ]
