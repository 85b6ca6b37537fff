"""Milliseconds as a budget: times of layers on a machine, and the widths that keep to a time."""

from __future__ import annotations

from typing import Any

from mmcompress.registry import TASK_UTILS


@TASK_UTILS.register_module()
def solve_latency(*args: Any, **kwargs: Any) -> Any:
    """See :func:`mmcompress.latency.solve.solve_latency`; imported when it is needed."""
    from .solve import solve_latency as solve

    return solve(*args, **kwargs)


@TASK_UTILS.register_module()
def solve_filter_latency(*args: Any, **kwargs: Any) -> Any:
    """See :func:`mmcompress.latency.solve.solve_filter_latency`."""
    from .solve import solve_filter_latency as solve

    return solve(*args, **kwargs)
