"""Time the ops of filter basis and shared basis against their authors' way, in turn.

Each kind of 3x3 convolution of the networks by itself, at the size that its input really has, but
the first one. The authors split channels, convolve every part and concatenate (filter basis), or
convolve with shared and with unique filters and concatenate (shared basis); ours is the op as it
is trained. Both without norm and activation, which are the same in both.

Filter basis: s = c / g and b = s, for every g of ``--groups``. Shared basis: ``--ranks`` for
layers of 64 filters, in proportion for others.

Example:
    python benchmarks/benchmark_basis.py --threads 1 --batch-size 8 --json work_dirs/basis.json
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from typing import Any

import mmcompress  # noqa: F401

# isort: split
import numpy as np
import torch
from basis_forms import PASSES, Kind, Way, compare_forms, kinds_of_convs, split_basis, two_bases
from torch import nn

from mmcompress.cli.launch import read_config, results_on_stdout, run
from mmcompress.cli.options import add_shape_argument
from mmcompress.core.base.build import build_model, init_scope
from mmcompress.core.base.image_shape import image_shape
from mmcompress.core.errors import CompressionError
from mmcompress.core.export.onnx import OnImages
from mmcompress.core.filters.basis_op import BasisConv2d
from mmcompress.methods.filter_basis import FilterBasisConv2d
from mmcompress.methods.shared_basis import SharedBasisConv2d
from mmcompress.report import print_table, write_json
from mmcompress.report.table import progress_bar

CONFIGS = [
    'mmpretrain::resnet/resnet34_8xb32_in1k.py',
    'configs/dense/dense_vgg16_300e_cifar10.py',
]


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Time basis ops against the authors' way")
    parser.add_argument(
        'config', nargs='*', default=CONFIGS, help='of dense networks; ResNet-34 and VGG-16'
    )
    add_shape_argument(parser)
    parser.add_argument('--batch-size', type=int, default=8)
    parser.add_argument('--groups', type=int, nargs='+', default=[1, 2, 4], metavar='G')
    parser.add_argument('--ranks', type=int, nargs=2, default=[32, 1], metavar=('SHARED', 'UNIQUE'))
    parser.add_argument('--repeats', type=int, default=30, help='timed rounds')
    parser.add_argument('--threads', type=int, help="torch's; all cores by default")
    parser.add_argument(
        '--cpu-time',
        action='store_true',
        help='measure the time of the processor, for a machine with other work; needs --threads 1',
    )
    parser.add_argument('--json', metavar='FILE', help='write the results there as well')
    args = parser.parse_args()
    for name in ('batch_size', 'groups', 'ranks', 'repeats', 'threads'):
        given = getattr(args, name)
        for value in given if isinstance(given, list) else [given]:
            if value is not None and value < 1:
                option = name.replace('_', '-')
                raise CompressionError(f'--{option} is {value}; it has to be at least 1')
    if args.cpu_time and args.threads != 1:
        raise CompressionError(
            f'--cpu-time adds up the time of all threads; give --threads 1, not {args.threads}'
        )
    return args


def ops_for(
    kind: Kind, groups: list[int], ranks: tuple[int, int]
) -> Iterator[tuple[str, BasisConv2d, Way]]:
    """What could stand in for a convolution: a name, an op, and the authors' way of it.

    Groups that don't divide the channels are left out.
    """
    channels, filters, stride, _ = kind
    conv = nn.Conv2d(channels, filters, 3, stride, 1, bias=False)
    for count in groups:
        if channels % count == 0:
            size = channels // count
            op = FilterBasisConv2d(conv, size, size)
            yield f'filter basis s{size} b{size}', op, split_basis(op)
    shared, unique = (max(rank * filters // 64, 1) for rank in ranks)
    op = SharedBasisConv2d(conv, shared, unique)
    yield f'shared basis S{shared} U{unique}', op, two_bases(op)


def measure(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Two rows, forward and with backward, for each op that is tried for a kind of convolution.

    Raises:
        CompressionError: If a network has no 3x3 convolution but its first.
    """
    tasks = []
    for config in args.config:
        cfg = read_config(config)
        init_scope(cfg)
        images = torch.zeros(args.batch_size, *image_shape(cfg, args.shape))
        with torch.no_grad():
            kinds = kinds_of_convs(OnImages(build_model(cfg)).eval(), images)
        if not kinds:
            raise CompressionError(f'{config} has no 3x3 convolution but its first')
        tasks += [(config, kind, count) for kind, count in kinds.items()]
    rows = []
    clock = time.process_time if args.cpu_time else time.perf_counter
    with progress_bar() as bar:
        for config, kind, count in bar.track(tasks, description='timing'):
            channels, filters, stride, shape = kind
            layer = f'{channels}-{filters} {shape[2]}x{shape[3]}/{stride[0]}'
            for name, op, authors in ops_for(kind, args.groups, args.ranks):
                timed = compare_forms(op, authors, shape, args.repeats, args.threads, clock)
                head = dict(network=config.split('/')[-1], layer=layer, alike=count, op=name)
                rows += [{**head, 'merged': op.merges(shape), **row} for row in timed]
    return rows


def side_by_side(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A line for each op, with both passes."""
    lines: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        line = lines.setdefault(
            (row['layer'], row['op']),
            {'layer': row['layer'], 'op': row['op'], 'merged': 'yes' if row['merged'] else ''},
        )
        line[f'{row["pass"]}: authors ms'] = row['authors ms']
        line[f'{row["pass"]}: ours / authors'] = f'{row["ours / authors"]:.3f} ({row["iqr"]:.2f})'
    return list(lines.values())


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Over all layers: the ratios of each network, method and pass."""
    found = []
    for network in dict.fromkeys(row['network'] for row in rows):
        for method in ('filter basis', 'shared basis'):
            for label in PASSES:
                ratios = [
                    row['ours / authors']
                    for row in rows
                    if (row['network'], row['pass']) == (network, label)
                    and row['op'].startswith(method)
                ]
                if not ratios:
                    continue
                found.append(
                    {
                        'network': network,
                        'method': method,
                        'pass': label,
                        'ops': len(ratios),
                        'best': min(ratios),
                        'median': float(np.median(ratios)),
                        'worst': max(ratios),
                    }
                )
    return found


def main() -> None:
    args = parse_args()
    with results_on_stdout():
        rows = measure(args)
    if args.json:
        write_json(rows, args.json)
    threads = args.threads or torch.get_num_threads()
    title = f'batch of {args.batch_size}, {threads} threads, {args.repeats} rounds'
    for network in dict.fromkeys(row['network'] for row in rows):
        lines = side_by_side([row for row in rows if row['network'] == network])
        print_table(lines, title=f'{network}, {title}')
    print_table(summary(rows), title='time of ours / time of the authors')


if __name__ == '__main__':
    run(main)
