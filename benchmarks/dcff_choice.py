"""What DCFF's choice of filters does to training: accuracy and exchanged filters, by epoch.

From the second fuse step on the proxies are one-hot and all scores of a layer tie. ``--rule kept``
is what DCFF does: the choice of the first fuse step stays. ``--rule ties`` takes whatever
``torch.topk`` makes of ties, as DCFF did before (and MMRazor's does): filters are exchanged by
their index, once.

Trains the demo config, or another one, once for each seed.

Example:
    OMP_NUM_THREADS=1 python benchmarks/dcff_choice.py --rule kept --json work_dirs/kept.json
    OMP_NUM_THREADS=1 python benchmarks/dcff_choice.py --rule ties
"""

from __future__ import annotations

import argparse
import logging
import tempfile
from pathlib import Path
from typing import Any

import mmcompress  # noqa: F401

# isort: split
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmcompress.cli.options import give_json
from mmcompress.methods.dcff import FusedConv2d, importance

CONFIG = Path(__file__).resolve().parents[1] / 'configs/demo/dcff_resnet20_digits.py'


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="What DCFF's choice of filters does to training")
    parser.add_argument('config', nargs='?', default=str(CONFIG))
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument('--rule', choices=['kept', 'ties'], default='kept')
    parser.add_argument('--json', type=Path, help='write the numbers there too')
    return parser.parse_args()


def choose_among_ties(
    score: torch.Tensor, tolerance: torch.Tensor, keep: int, before: torch.Tensor, rows: Any
) -> torch.Tensor:
    """The rule from before: the largest scores, ties as ``topk`` leaves them."""
    chosen = torch.zeros_like(before)
    chosen[score.topk(keep).indices] = True
    return chosen


class WatchHook(Hook):
    """Notes the accuracy of every epoch, and how many filters each fuse step exchanges."""

    # After CompressionHook, which fuses.
    priority = 'LOW'

    def __init__(self) -> None:
        self.accuracy: list[float] = []
        self.exchanged: list[int] = []
        self.temperatures: list[float] = []
        self.kept = 0
        self._steps = 0
        self._last: list[set[int]] = []

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Compare the choices before and after a fuse step."""
        model = runner.model
        if int(model.fuse_steps) == self._steps:
            return
        self._steps = int(model.fuse_steps)
        ops = [op for op in model.architecture.modules() if isinstance(op, FusedConv2d)]
        pruned = [op for op in ops if op.out_channels < op.dense_channels]
        # The filter that a fused one stands for has the largest share in it.
        now = [set(op.proxies.argmax(dim=1).tolist()) for op in pruned]
        self.kept = sum(len(chosen) for chosen in now)
        self.temperatures.append(float(model.fuse_temperature))
        if self._last:
            pairs = zip(now, self._last, strict=True)
            self.exchanged.append(sum(len(new - old) for new, old in pairs))
        self._last = now

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Note the accuracy."""
        self.accuracy.append(metrics['accuracy/top1'])


def train(config: str, seed: int, work_dir: str) -> dict[str, Any]:
    """Train once; what the hook saw."""
    cfg = Config.fromfile(config)
    cfg.work_dir = work_dir
    cfg.randomness.seed = seed
    cfg.log_level = 'WARNING'
    hook = WatchHook()
    runner = Runner.from_cfg(cfg)
    runner.register_hook(hook)
    runner.train()
    return dict(
        seed=seed,
        accuracy=[round(value, 2) for value in hook.accuracy],
        temperature=[round(value) for value in hook.temperatures],
        kept=hook.kept,
        exchanged=hook.exchanged,
    )


def main() -> None:
    args = parse_args()
    if args.rule == 'ties':
        importance.choose = choose_among_ties
    rows = []
    for seed in args.seeds:
        with tempfile.TemporaryDirectory() as work_dir:
            rows.append(train(args.config, seed, work_dir))
        logging.shutdown()
        show(args.rule, rows[-1])
    give_json(dict(rule=args.rule, seeds=rows), args.json)


def show(rule: str, row: dict[str, Any]) -> None:
    """Print one training as a table: a line an epoch."""
    print(f'\nrule {rule}, seed {row["seed"]}: {row["kept"]} filters kept by pruned layers')
    print(f'{"epoch":>5} {"temperature":>11} {"exchanged":>9} {"top-1 after":>11}')
    exchanged = ['-', *row['exchanged']]
    lines = zip(row['temperature'], exchanged, row['accuracy'], strict=True)
    for epoch, (temp, count, accuracy) in enumerate(lines, start=1):
        print(f'{epoch:>5} {temp:>11} {count:>9} {accuracy:>11.2f}', flush=True)


if __name__ == '__main__':
    main()
