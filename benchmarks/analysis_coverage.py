"""Run the analyzer over the ResNet-family configs of the OpenMMLab libraries.

A config counts when verified units cover 90 % of its backbone's convolution widths and the model,
all units narrowed to one half at once, still runs its loss and predict on a demo batch. Every model
is checked in a process of its own; configs that build the same model share the check.

Example:
    python benchmarks/analysis_coverage.py --sample 100 --seed 1 --json work_dirs/coverage.json
"""

from __future__ import annotations

import argparse
import statistics
from typing import Any

import mmcompress  # noqa: F401

# isort: split
import library_coverage as coverage
from survey import add_arguments, dense_model, survey

from mmcompress.cli.launch import run
from mmcompress.report import print_table


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Check the analyzer on the libraries' configs")
    add_arguments(parser)
    return parser.parse_args()


def check(record: coverage.Record) -> coverage.Record:
    """Body of a child process."""
    return coverage.check(record.config, dense_model(record.config), record.backbone)


def summary(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A line for each library, and one for all."""
    rows = []
    for lib in [*coverage.LIBRARIES, 'all']:
        mine = [r for r in records if lib == 'all' or r['config'].startswith(lib + '::')]
        timed = [r['seconds'] for r in mine if r['seconds'] is not None]
        r50 = [
            r['seconds']
            for r in mine
            if r['seconds'] is not None and r['backbone'].split('-')[-1] == '50'
        ]
        if mine:
            good = sum(not r['reason'] for r in mine)
            rows.append(
                {
                    'library': lib,
                    'configs': len(mine),
                    'counted': good,
                    'percent': 100 * good / len(mine),
                    'median s': statistics.median(timed) if timed else None,
                    'median s, depth 50': statistics.median(r50) if r50 else None,
                    'slowest s': max(timed, default=None),
                }
            )
    return rows


def main() -> None:
    args = parse_args()
    records, models = survey(
        args, lambda name, backbone: [coverage.Record(name, backbone=backbone)], check
    )
    if not args.quiet:
        print_table(records, title='configs')
    print_table(summary(records), title=f'{models} models in {len(records)} configs')


if __name__ == '__main__':
    run(main)
