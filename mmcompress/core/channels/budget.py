"""What a model may cost, as a config says it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mmcompress.core.checks import check_count, is_number
from mmcompress.core.errors import CompressionError, nearest

KEY = 'budget'
COSTS = ('macs', 'params')
NAMES = dict(macs='MACs', params='parameters')
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
        divisor: Widths are multiples of it; a dense width may stay.
        input_shape: ``(channels, height, width)`` of the image to count with; see
            :func:`solve`.
    """

    macs: float | None = None
    params: float | None = None
    min_ratio: Any = 0.1
    max_ratio: Any = 1.0
    divisor: int = 1
    input_shape: tuple[int, int, int] | None = None

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
            if key == 'latency':
                raise CompressionError(
                    f'{KEY}.latency: a budget of latency is not supported; give macs or params'
                )
            if key not in valid:
                raise CompressionError(
                    f'{KEY} has no {key!r}; the nearest of its keys are {nearest(key, valid)}'
                )
        for cost in COSTS:
            if config.get(cost) is not None:
                config[cost] = _amount(config[cost], f'{KEY}.{cost}')
        if all(config.get(cost) is None for cost in COSTS):
            raise CompressionError(
                f'{KEY} names no budget: give macs or params, such as dict(macs=0.55)'
            )
        check_count(config.get('divisor', 1), f'{KEY}.divisor')
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
