"""What a model may cost, as a config says it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mmcompress.core.checks import check_count, is_number, one_of
from mmcompress.core.errors import CompressionError, nearest

KEY = 'budget'
#: In the `meta` of a checkpoint, what a budget of time came to.
FOUND = 'budget_found'
COSTS = ('macs', 'params')
NAMES = dict(macs='MACs', params='parameters')
#: What layers and networks can be timed in.
RUNTIMES = ('onnxruntime', 'openvino', 'torch', 'torch-channels-last', 'compile')
#: A divisor that is found, and what it is where nothing is timed: the vectors of AVX-512, and of
#: the blocks that runtimes lay channels out in; see docs/latency.md.
AUTO, FAST = 'auto', 16
SUFFIXES = dict(k=1e3, m=1e6, g=1e9, b=1e9)


@dataclass(frozen=True)
class Budget:
    """What ``budget`` asks for.

    Attributes:
        macs: MACs of the whole architecture, heads included: above 1 absolute, otherwise
            relative to the dense one. ``None``: no limit.
        params: Parameters, likewise. Of two limits the tighter one decides.
        min_ratio: The smallest keep ratio: a number for all units, or a dict by unit name or
            pattern as in ``target_pruning_ratio`` (units that are not mentioned: 0.1).
        max_ratio: The largest keep ratio, likewise (units that are not mentioned: 1).
        latency: Time of the whole architecture: at most 1 relative to the dense one, otherwise
            milliseconds. ``None``: no limit.
        runtime: What is timed: one of :data:`RUNTIMES`. This and what follows is of ``latency``.
        threads: CPU threads.
        batch: Images in a batch.
        table: A file of times that another machine has made; ``None`` times on this one.
        divisor: Widths are multiples of it; a dense width may stay. ``'auto'``, the default of a
            ``latency``, takes what the runtime is fast at; without ``latency`` :data:`FAST`.
        input_shape: ``(channels, height, width)`` of the image to count with; see
            :func:`~mmcompress.core.channels.solver.solve`.
        found: What was found for a latency before: ``ratios`` by unit name, and ``forms`` by
            layer. The tools write it into the config of a training, so that the same network is
            built wherever its checkpoint goes; nothing is timed then.
    """

    macs: float | None = None
    params: float | None = None
    min_ratio: Any = 0.1
    max_ratio: Any = 1.0
    divisor: int | str = 1
    latency: float | None = None
    runtime: str = 'onnxruntime'
    threads: int = 1
    batch: int = 1
    table: str | None = None
    input_shape: tuple[int, int, int] | None = None
    found: dict | None = None

    @classmethod
    def from_config(cls, config: Any) -> Budget:
        """Read ``budget`` of a config.

        Args:
            config: Such as ``dict(macs=0.55)``, ``dict(macs='2.25G', input_shape=(3, 224, 224))``
                or ``dict(params=0.5, min_ratio=0.2, max_ratio={'backbone.layer4.*': 0.9})``.

        Raises:
            CompressionError: If a key or value is wrong.
        """
        if not isinstance(config, Mapping):
            raise CompressionError(
                f'{KEY} is {config!r}; it has to be a dict such as dict(macs=0.55)'
            )
        config = dict(config)
        valid = list(cls.__dataclass_fields__)
        for key in config:
            if key not in valid:
                raise CompressionError(
                    f'{KEY} has no {key!r}; the nearest of its keys are {nearest(key, valid)}'
                )
        for cost in COSTS:
            if config.get(cost) is not None:
                config[cost] = _amount(config[cost], f'{KEY}.{cost}')
        if config.get('latency') is not None:
            config['latency'] = _time(config['latency'], f'{KEY}.latency')
            config.setdefault('divisor', AUTO)
        else:
            _check_no_time(config)
        if all(config.get(cost) is None for cost in (*COSTS, 'latency')):
            raise CompressionError(
                f'{KEY} names no budget: give macs, params or latency, such as dict(macs=0.55)'
            )
        if config.get('divisor') != AUTO:
            check_count(config.get('divisor', 1), f'{KEY}.divisor')
        for key in ('threads', 'batch'):
            check_count(config.get(key, 1), f'{KEY}.{key}')
        one_of(config.get('runtime', RUNTIMES[0]), RUNTIMES, f'{KEY}.runtime')
        found = config.get('found')
        if found is not None and not (
            isinstance(found, Mapping) and isinstance(found.get('ratios'), Mapping)
        ):
            raise CompressionError(
                f'{KEY}.found is {found!r}; it has to be what `mmcompress train` has written, with '
                'ratios by unit name, or be left out'
            )
        if found is not None:
            # Plain dicts: checkpoints hold them.
            config['found'] = {key: dict(part) for key, part in found.items()}
        if not isinstance(config.get('table'), (str, type(None))):
            raise CompressionError(
                f'{KEY}.table is {config["table"]!r}; it has to be the path of a file of times'
            )
        shape = config.get('input_shape')
        if shape is not None:
            if not (
                isinstance(shape, (list, tuple))
                and len(shape) == 3
                and all(isinstance(n, int) and n > 0 for n in shape)
            ):
                raise CompressionError(
                    f'{KEY}.input_shape is {shape!r}; it has to be three positive integers, '
                    '(channels, height, width)'
                )
            config['input_shape'] = tuple(shape)
        return cls(**config)

    def latency_share(self, dense_ms: float) -> float:
        """The latency as a share of the dense architecture's.

        Args:
            dense_ms: Milliseconds of the dense architecture.

        Raises:
            CompressionError: If it is more than that.
        """
        latency = self.latency or 1.0
        if latency <= 1:
            return latency
        if latency > dense_ms:
            raise CompressionError(
                f'{KEY}.latency is {latency:g} ms, more than the {dense_ms:.4g} ms that the dense '
                f'architecture takes in {self.runtime}'
            )
        return latency / dense_ms


def step_of(dense: int, own: int, divisor: int | str, shrink: bool = False) -> int:
    """What the widths of a unit are multiples of.

    Args:
        dense: Its dense width.
        own: What its layers ask for.
        divisor: Of the budget; ``'auto'`` stands for :data:`FAST`.
        shrink: Whether narrow units may have smaller steps, so that they have four widths at least.
    """
    step = FAST if divisor == AUTO else int(divisor)
    while (shrink or divisor == AUTO) and step > 1 and dense < 4 * step:
        step //= 2
    return math.lcm(own, step)


def _check_no_time(config: Mapping[str, Any]) -> None:
    """See that nothing asks for a time where there is no budget of it."""
    for key in ('runtime', 'threads', 'batch', 'table', 'found'):
        if key in config:
            raise CompressionError(
                f'{KEY}.{key} is {config[key]!r}, which says how {KEY}.latency is timed; give '
                'latency, or remove it'
            )


def _time(value: Any, key: str) -> float:
    """A share in (0, 1], or milliseconds above 1, which are written as ``'12 ms'``.

    Raises:
        CompressionError: If it is neither.
    """
    match = re.fullmatch(r'\s*(\d+\.?\d*)\s*(ms|s)\s*', value) if isinstance(value, str) else None
    if match:
        milliseconds = float(match[1]) * (1 if match[2] == 'ms' else 1000)
        if milliseconds > 1:
            return milliseconds
    elif is_number(value) and 0 < float(value) <= 1:
        return float(value)
    raise CompressionError(
        f"{key} is {value!r}; it has to be a share of the dense architecture's time, above 0 and "
        "at most 1, or a time above 1 ms such as '12 ms'"
    )


def _amount(value: Any, key: str) -> float:
    """A share in (0, 1], or a number above 1, which may be written as ``'2.25G'``.

    Raises:
        CompressionError: If it is neither.
    """
    number: Any = value
    if isinstance(value, str):
        match = re.fullmatch(r'\s*(\d+\.?\d*(?:e\d+)?)\s*([kmgb]?)\s*', value.lower())
        number = float(match[1]) * SUFFIXES.get(match[2], 1) if match else None
    if (
        not is_number(number)
        or not 0 < float(number) < math.inf
        or (isinstance(value, str) and value.strip()[-1].isalpha() and float(number) <= 1)
    ):
        raise CompressionError(
            f'{key} is {value!r}; it has to be a share of the dense architecture, above 0 and at '
            "most 1, or a number such as 2.25e9 or '2.25G'"
        )
    return float(number)
