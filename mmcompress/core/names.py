"""Names of modules in a config: patterns, and what they mean when they are left out."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence
from typing import Any

from torch import nn

from .errors import CompressionError
from .twins import twins_of


def name_list(value: Any, key: str) -> list[str]:
    """A name or a list of names, as a list.

    Raises:
        CompressionError: If it is anything else; the message names ``key``.
    """
    patterns = [value] if isinstance(value, str) else value
    if not isinstance(patterns, (list, tuple)) or not all(isinstance(p, str) for p in patterns):
        raise CompressionError(f'{key} is {value!r}; it has to be a name or a list of names')
    return list(patterns)


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether ``name``, or a module that contains it, matches one of ``patterns``."""
    return any(
        fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(name, pattern + '.*')
        for pattern in patterns
    )


def copies_in(model: nn.Module) -> list[str]:
    """Names of the momentum copies of a model."""
    return [copy for group in twins_of(model).values() for copy in group]


def backbones_of(model: nn.Module) -> list[str]:
    """The outermost modules called ``backbone``, momentum copies aside."""
    copies = copies_in(model)
    found: list[str] = []
    for name, _ in model.named_modules():
        inside = matches(name, [*found, *copies])
        if name.split('.')[-1] == 'backbone' and not inside:
            found.append(name)
    return found or ['backbone']


def demo_shape(value: Sequence[int] | None, key: str = 'input_shape') -> tuple[int, ...] | None:
    """``(N, C, H, W)`` of a demo batch; ``None`` stays ``None``.

    Raises:
        CompressionError: If it is anything but four positive integers.
    """
    if value is None:
        return None
    sizes = tuple(value) if isinstance(value, (list, tuple)) else ()
    if len(sizes) != 4 or not all(type(size) is int and size > 0 for size in sizes):
        raise CompressionError(
            f'{key} is {value!r}; it has to be four positive integers, (N, C, H, W)'
        )
    return sizes
