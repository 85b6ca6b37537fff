"""Latency of models against each other, in one process."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .modes import evaluating


def compare_latency(
    models: Mapping[str, Callable],
    inputs: Tensor | tuple[Any, ...],
    repeats: int = 30,
    warmup: int = 5,
    threads: int | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> list[dict[str, Any]]:
    """Time models in turn: A B A B ..., so that a machine that slows down slows all of them.

    Modules run in eval mode and without gradients; modes are restored afterwards.

    Args:
        models: What to call, by name: modules or any callables, e.g. an ONNX session's. The first
            one is the reference.
        inputs: One tensor, or a tuple of positional arguments, the same for all models.
        repeats: Timed rounds.
        warmup: Rounds before those.
        threads: CPU threads for torch while measuring; None leaves them alone.
        clock: Gives seconds. ``time.process_time`` leaves out what other programs take from a
            busy machine; with more than one thread it adds up what all of them take.

    Returns:
        For each model a row: ``name``; ``median_ms`` and ``iqr_ms``, the median and the
        interquartile range of its times; ``ratio`` and ``ratio_iqr``, the same of its time divided
        by the reference's in the same round, which cancels what a round had in common;
        ``mean_ratio``, its time in all rounds divided by the reference's, for work that differs
        from round to round.

    Raises:
        ValueError: If there is no model, or no round to time.
    """
    if not models:
        raise ValueError('models is empty: there is nothing to time.')
    if repeats < 1:
        raise ValueError(f'repeats={repeats} is not a positive number of rounds.')
    if isinstance(inputs, Tensor):
        inputs = (inputs,)
    calls = list(models.values())
    modules = [call for call in calls if isinstance(call, nn.Module)]
    synchronize = _synchronizer(inputs)
    with measuring(*modules, threads=threads):
        for _ in range(warmup):
            for call in calls:
                call(*inputs)
        times = [
            [_time(call, inputs, synchronize, clock) for call in calls] for _ in range(repeats)
        ]
    return _summarize(list(models), np.array(times))


@contextmanager
def measuring(*modules: nn.Module, threads: int | None = None) -> Iterator[None]:
    """Inside, modules run in eval mode without gradients, and nothing collects garbage.

    Args:
        modules: Their modes are restored afterwards.
        threads: CPU threads for torch; None leaves them alone.
    """
    with evaluating(*modules), torch.no_grad(), _threads(threads), _no_garbage_collection():
        yield


def _summarize(names: list[str], times: np.ndarray) -> list[dict[str, Any]]:
    """Rows from ``float[rounds, models]`` seconds; the first model is the reference."""
    ratios = times / times[:, :1]
    return [
        dict(
            name=name,
            median_ms=float(np.median(times[:, i])) * 1e3,
            iqr_ms=_iqr(times[:, i]) * 1e3,
            ratio=float(np.median(ratios[:, i])),
            ratio_iqr=_iqr(ratios[:, i]),
            mean_ratio=float(times[:, i].sum() / times[:, 0].sum()),
        )
        for i, name in enumerate(names)
    ]


def _iqr(values: np.ndarray) -> float:
    low, high = np.percentile(values, [25, 75])
    return float(high - low)


def _time(
    call: Callable,
    inputs: tuple[Any, ...],
    synchronize: Callable[[], None],
    clock: Callable[[], float],
) -> float:
    """Seconds of one call."""
    synchronize()
    start = clock()
    call(*inputs)
    synchronize()
    return clock() - start


def _synchronizer(inputs: tuple[Any, ...]) -> Callable[[], None]:
    """What to wait for before reading the clock: kernels, where the inputs are on a GPU."""
    for value in inputs:
        if isinstance(value, Tensor) and value.is_cuda:
            device = value.device
            return lambda: torch.cuda.synchronize(device)
    return lambda: None


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(before if count is None else count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
