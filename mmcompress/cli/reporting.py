"""From work dirs and exports to what a report says of them."""

from __future__ import annotations

import argparse
from typing import Any

from mmcompress.report.runs import find_runs, main_metric, read_run
from mmcompress.version import __version__


def make_report(args: argparse.Namespace) -> dict[str, Any]:
    """Read the runs of the arguments.

    Raises:
        CompressionError: If there are none, or a file is damaged.
    """
    runs = [read_run(run) for run in find_runs(args.work_dirs)]
    return dict(version=__version__, metric=main_metric(runs, args.metric), runs=runs)
