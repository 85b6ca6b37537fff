"""Checks of values that a config gives: one sentence with the key where one is wrong."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterable
from numbers import Real
from typing import Any

from .errors import CompressionError


def is_number(value: Any) -> bool:
    """Whether ``value`` is a number, which True and False are not."""
    return isinstance(value, Real) and not isinstance(value, bool)


def one_of(value: Any, names: Iterable[str], key: str) -> str:
    """``value`` if it is one of some names.

    Raises:
        CompressionError: If it is none.
    """
    names = list(names)
    if value not in names:
        raise CompressionError(f'{key} is {value!r}; it has to be one of {", ".join(names)}')
    return value


def check_installed(packages: Iterable[str], key: str) -> None:
    """See that packages can be imported, without doing so.

    Raises:
        CompressionError: If one is missing.
    """
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise CompressionError(
            f'{key}: {", ".join(missing)} cannot be imported; `pip install {" ".join(missing)}`'
        )


def check_count(value: Any, key: str) -> int:
    """``value`` if it is a number of things.

    Raises:
        CompressionError: If it isn't a positive integer.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise CompressionError(f'{key} is {value!r}; it has to be a positive integer')
    return value


def check_ratio(value: Any, key: str) -> float:
    """``value`` if it is a keep ratio.

    Raises:
        CompressionError: If it isn't a number in (0, 1].
    """
    if not is_number(value) or not 0 < value <= 1:
        raise CompressionError(
            f'{key} is {value!r}; a keep ratio is a number above 0 and at most 1'
        )
    return float(value)


def weight_of_loss(value: Any, key: str) -> float:
    """``value`` if it may weigh a loss.

    Raises:
        CompressionError: If it isn't a number of at least 0.
    """
    if not is_number(value) or not 0 <= value < math.inf:
        raise CompressionError(f'{key} is {value!r}; it has to be a number of at least 0')
    return float(value)
