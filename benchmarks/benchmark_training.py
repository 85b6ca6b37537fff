"""Time training and evaluation of compression configs against their dense networks, in turn.

A step of training is all that happens in one iteration but loading the data: the method's
schedule, losses, backward, and the step of the config's optimizer (SGD where there is none), on
random images and labels. Some methods add a loss to every tenth batch: it is in the mean of a
multiple of ten rounds, not in the median.

Weights are random, which changes no time, unless the config has a ``load_from``.

Example:
    python benchmarks/benchmark_training.py configs/demo/dcff_resnet20_digits.py --threads 1
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import mmcompress  # noqa: F401

# isort: split
import torch
from training_timer import compare_training

from mmcompress.cli.launch import build_algorithm, load_config, results_on_stdout, run
from mmcompress.cli.options import add_config_arguments, add_shape_argument
from mmcompress.core.base.algorithm import CompressionAlgorithm
from mmcompress.core.base.build import build_architecture
from mmcompress.core.base.image_shape import image_shape
from mmcompress.core.errors import CompressionError
from mmcompress.core.export.checkpoint import load_checkpoint_file
from mmcompress.core.export.export import dense_config
from mmcompress.report import print_table, write_json
from mmcompress.report.table import progress_bar, wide_console

#: What the table shows of a row, under which title; JSON has everything.
COLUMNS = {
    'model': 'model',
    'train_ms': 'train ms',
    'train_ratio': 'train ratio',
    'train_iqr': 'iqr',
    'train_mean_ratio': 'mean ratio',
    'eval_ms': 'eval ms',
    'eval_ratio': 'eval ratio',
    'eval_iqr': 'eval iqr',
}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Time training against the dense network')
    add_config_arguments(parser, nargs='+')
    add_shape_argument(parser)
    parser.add_argument('--batch-size', type=int, default=64)
    parser.add_argument('--repeats', type=int, default=30, help='timed rounds; a multiple of 10')
    parser.add_argument('--threads', type=int, help="torch's; all cores by default")
    parser.add_argument(
        '--cpu-time',
        action='store_true',
        help='measure the time of the processor, for a machine with other work; needs --threads 1',
    )
    parser.add_argument('--json', metavar='FILE', help='write the results there as well')
    args = parser.parse_args()
    for name in ('batch_size', 'repeats', 'threads'):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise CompressionError(
                f'--{name.replace("_", "-")} is {value}; it has to be at least 1'
            )
    if args.cpu_time and args.threads != 1:
        raise CompressionError(
            f'--cpu-time adds up the time of all threads; give --threads 1, not {args.threads}'
        )
    return args


def measure(config: str, args: argparse.Namespace) -> dict[str, Any]:
    """The row of one config.

    Raises:
        CompressionError: If it isn't that of a compression algorithm.
    """
    cfg = load_config(config, args.compress, args.cfg_options)
    algorithm = build_algorithm(cfg)
    dense = build_architecture(dense_config(cfg), cfg.get('data_preprocessor'))
    _load(algorithm, dense.state_dict(), cfg.get('load_from'))
    shape = (args.batch_size, *image_shape(cfg, args.shape))
    times = compare_training(
        dense,
        algorithm,
        shape,
        cfg.get('optim_wrapper'),
        args.repeats,
        threads=args.threads,
        clock=time.process_time if args.cpu_time else time.perf_counter,
    )
    return dict(model=Path(config.split('::')[-1]).stem, config=config, **times)


def _load(
    algorithm: CompressionAlgorithm, dense: dict[str, torch.Tensor], path: str | None
) -> None:
    """Load what training starts from: a checkpoint, or the dense weights if there have to be."""
    if path:
        algorithm.load_state_dict(load_checkpoint_file(path)['state_dict'], strict=False)
        return
    try:
        algorithm.check_start(loads=False)
    except CompressionError:
        algorithm.load_state_dict(dense, strict=False)


def main() -> None:
    args = parse_args()
    rows = []
    with results_on_stdout(), progress_bar() as bar:
        for config in bar.track(args.config, description='timing'):
            rows.append(measure(config, args))
    if args.json:
        write_json(rows, args.json)
    threads = args.threads or torch.get_num_threads()
    print_table(
        [{title: row[key] for key, title in COLUMNS.items()} for row in rows],
        title=f'batch of {args.batch_size}, {threads} threads, {args.repeats} rounds; '
        'ratios to the dense network',
        console=wide_console(),
    )


if __name__ == '__main__':
    run(main)
