"""Time FCF's projection onto the capped simplex against the authors' way, in turn.

All 3x3 convolutions of a network at once, one factor a filter. The authors set up and solve one
quadratic program a layer with OSQP, at its default tolerance, on the CPU; ours pads the rows of
all layers to one tensor, solves them together, and cuts them apart again, all within its time.
The rows are random: normal around 1/2, and as wide as ``--spread`` says.

Example:
    python benchmarks/benchmark_projection.py --threads 1 --json work_dirs/projection.json
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import mmcompress  # noqa: F401

# isort: split
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from mmcompress.cli.launch import read_config, results_on_stdout, run
from mmcompress.core.base.build import build_model, init_scope
from mmcompress.core.errors import CompressionError
from mmcompress.methods.fcf.admm import project_capped_simplex
from mmcompress.report import compare_latency, print_table, write_json

CONFIG = 'mmpretrain::resnet/resnet34_8xb32_in1k.py'


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Time FCF's projection against the authors' way")
    parser.add_argument(
        'config', nargs='?', default=CONFIG, help='of the network; ResNet-34 by default'
    )
    parser.add_argument('--rate', type=float, default=0.5, help='fraction of filters removed')
    parser.add_argument('--spread', type=float, default=0.5, help='standard deviation of the rows')
    parser.add_argument('--seed', type=int, default=0, help='of the rows')
    parser.add_argument('--repeats', type=int, default=30, help='timed rounds')
    parser.add_argument('--threads', type=int, help="torch's; all cores by default")
    parser.add_argument('--json', metavar='FILE', help='write the results there as well')
    args = parser.parse_args()
    for name, valid, right in (
        ('rate', 0 <= args.rate <= 1, 'from 0 to 1'),
        ('spread', args.spread >= 0, '0 or more'),
        ('repeats', args.repeats >= 1, 'at least 1'),
        ('threads', args.threads is None or args.threads >= 1, 'at least 1'),
    ):
        if not valid:
            raise CompressionError(f'--{name} is {getattr(args, name)}; it has to be {right}')
    return args


def filters_of_3x3(config: str) -> list[int]:
    """The number of filters of every 3x3 convolution of a config's model.

    Raises:
        CompressionError: If it has none.
    """
    cfg = read_config(config)
    init_scope(cfg)
    sizes = [
        module.out_channels
        for module in build_model(cfg).modules()
        if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3)
    ]
    if not sizes:
        raise CompressionError(f'{config} has no 3x3 convolution')
    return sizes


def one_by_one(widths: list[int]) -> Callable[..., list[Tensor]]:
    """The authors' way: a quadratic program a layer, set up anew in every call.

    Raises:
        CompressionError: If OSQP is not installed.
    """
    try:
        import osqp
        from scipy import sparse
    except ImportError:
        raise CompressionError(
            'the projection is compared with OSQP, which is not installed: `pip install osqp`'
        ) from None

    def project(x: Tensor, k: int) -> Tensor:
        n = len(x)
        eye = sparse.eye(n, format='csc')
        solver = osqp.OSQP()
        solver.setup(
            eye,
            -x.numpy().astype(np.float64),
            sparse.vstack([eye, np.ones((1, n))], format='csc'),
            np.append(np.zeros(n), k),
            np.append(np.ones(n), k),
            verbose=False,
        )
        return torch.from_numpy(solver.solve(raise_error=False).x).to(x)

    return lambda *rows: [project(x, k) for x, k in zip(rows, widths, strict=True)]


def together(sizes: list[int], widths: list[int]) -> Callable[..., list[Tensor]]:
    """Our way. What never changes in a training, k and mask, is made beforehand."""
    k = torch.tensor(widths)
    mask = torch.arange(max(sizes)) < torch.tensor(sizes)[:, None]

    def project(*rows: Tensor) -> list[Tensor]:
        z = project_capped_simplex(pad_sequence(rows, batch_first=True), k, mask, check=False)
        return [row[:n] for row, n in zip(z, sizes, strict=True)]

    return project


def exact(x: Tensor, k: int) -> Tensor:
    """The projection in float64, by bisection for tau until float64 has nothing in between."""
    x = x.double()
    low, high = x.min() - 1, x.max()
    while low < (tau := (low + high) / 2) < high:
        if (x - tau).clamp(0, 1).sum() >= k:
            low = tau
        else:
            high = tau
    return (x - low).clamp(0, 1)


def largest_error(found: list[Tensor], rows: list[Tensor], widths: list[int]) -> float:
    """Of any entry of any row."""
    return max(
        float((z - exact(x, k)).abs().max()) for z, x, k in zip(found, rows, widths, strict=True)
    )


def measure(args: argparse.Namespace, sizes: list[int]) -> list[dict[str, Any]]:
    """A line for each way; the authors' is the reference."""
    generator = torch.Generator().manual_seed(args.seed)
    rows = [0.5 + args.spread * torch.randn(n, generator=generator) for n in sizes]
    widths = [int(n * (1 - args.rate)) for n in sizes]
    ways = {
        'one OSQP a layer': one_by_one(widths),
        'all rows together': together(sizes, widths),
    }
    errors = {name: largest_error(way(*rows), rows, widths) for name, way in ways.items()}
    timed = compare_latency(ways, tuple(rows), repeats=args.repeats, threads=args.threads)
    return [
        {
            'projection': row['name'],
            'median ms': row['median_ms'],
            'iqr ms': row['iqr_ms'],
            'times as fast': 1 / row['ratio'],
            'largest error': errors[row['name']],
        }
        for row in timed
    ]


def main() -> None:
    args = parse_args()
    with results_on_stdout():
        sizes = filters_of_3x3(args.config)
        rows = measure(args, sizes)
    if args.json:
        write_json(rows, args.json)
    threads = args.threads or torch.get_num_threads()
    title = f'{len(sizes)} rows of {min(sizes)} to {max(sizes)}, {threads} threads'
    print_table(rows, title=title)


if __name__ == '__main__':
    run(main)
