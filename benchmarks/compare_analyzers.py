"""Our analyzer side by side with MMRazor's ``ChannelAnalyzer``, with either of its tracers.

Every config of the choice is built three times, each time in a process of its own with one
thread, and analyzed by one of the three. MMRazor gets its own demo input for the config's library,
as in its ``tools/pruning/get_channel_units.py``. Success is a unit in the backbone; besides, the
units of all three are put to the same test: which share of the backbone's convolution widths they
cover, and whether loss and predict run with all of them at one half.

MMRazor does not even import next to the current libraries unless mmcompress's stand-ins
(``mmcompress/compat``) are in place; here they are.

Example:
    python benchmarks/compare_analyzers.py --sample 24 --seed 1 --json work_dirs/analyzers.json
"""

from __future__ import annotations

import argparse
import statistics
from typing import Any

import mmcompress  # noqa: F401

# isort: split
import library_coverage as coverage
import rivals
from survey import add_arguments, dense_model, survey

from mmcompress.cli.launch import run
from mmcompress.report import print_table


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Compare our analyzer with MMRazor's")
    add_arguments(parser)
    # One at a time, so that the clocks don't disturb each other.
    parser.set_defaults(jobs=1)
    return parser.parse_args()


def compare(record: rivals.Record) -> rivals.Record:
    """Body of a child process."""
    return rivals.fill_in(record, dense_model(record.config))


def summary(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A line for each library and analyzer, and for all libraries together."""
    rows = []
    for lib in [*coverage.LIBRARIES, 'all']:
        for analyzer in rivals.ANALYZERS:
            mine = [
                r
                for r in records
                if r['analyzer'] == analyzer
                and (lib == 'all' or r['config'].startswith(lib + '::'))
            ]
            if not mine:
                continue
            good = [r for r in mine if not r['reason']]
            seconds = [r['seconds'] for r in good]
            whole = [r for r in good if r['half'] == 'runs' and r['covered'] >= coverage.ENOUGH]
            rows.append(
                {
                    'library': lib,
                    'analyzer': analyzer,
                    'configs': len(mine),
                    'success': len(good),
                    'median s': statistics.median(seconds) if seconds else None,
                    'slowest s': max(seconds, default=None),
                    'half runs': sum(r['half'] == 'runs' for r in good),
                    'and covers 90 %': len(whole),
                }
            )
    return rows


def main() -> None:
    args = parse_args()
    rivals.preload(lib for lib in args.lib if lib in coverage.LIBRARIES)
    records, models = survey(args, rivals.blank, compare)
    if not args.quiet:
        print_table(records, title='configs')
    title = f'{models} models in {len(records) // len(rivals.ANALYZERS)} configs'
    print_table(summary(records), title=title)


if __name__ == '__main__':
    run(main)
