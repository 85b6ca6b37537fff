"""Names of modules in a config: patterns, and what they mean when they are left out."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Iterator
from typing import Any

from mmengine.model import BaseAveragedModel
from torch import nn

from mmcompress.core.errors import CompressionError
from mmcompress.core.probe.example import BatchShape, Demo, Example


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
    """The outermost modules called ``backbone``, momentum copies aside; all parts if none is."""
    copies = copies_in(model)
    found: list[str] = []
    for name, _ in model.named_modules():
        inside = matches(name, [*found, *copies])
        if name.split('.')[-1] == 'backbone' and not inside:
            found.append(name)
    return found or [name for name, _ in model.named_children()]


def demo_shape(value: Demo, key: str = 'input_shape') -> BatchShape | Example | None:
    """``(N, C, H, W)`` of a demo batch; ``None`` and inputs that a user gives stay as they are.

    Raises:
        CompressionError: If it is anything else.
    """
    if value is None or isinstance(value, (BatchShape, Example)):
        return value
    sizes = tuple(value) if isinstance(value, (list, tuple)) else ()
    if not is_batch_shape(sizes):
        raise CompressionError(
            f'{key} is {value!r}; it has to be four positive integers, (N, C, H, W), or five for '
            'a model of maps with three sides'
        )
    shape = BatchShape(sizes)
    shape.key = key
    return shape


def is_batch_shape(value: Any) -> bool:
    """Whether a value is a batch, channels, and two or three sides."""
    return (
        isinstance(value, (list, tuple))
        and len(value) in (4, 5)
        and all(type(size) is int and size > 0 for size in value)
    )


def twins_of(model: nn.Module) -> dict[str, list[str]]:
    """Names of modules and of their momentum copies.

    Copies are what mmengine's averaged models hold, as self-supervised learning uses them, and
    the teacher of semi-supervised detectors.
    """
    twins: dict[str, list[str]] = {}
    for name, module in model.named_modules():
        if isinstance(module, BaseAveragedModel):
            copied = f'{name}.module'
            for source, copy in _pairs(model, module.module, copied, skip=name):
                twins.setdefault(source, []).append(copy)
    if any(base.__name__ == 'SemiBaseDetector' for base in type(model).__mro__):
        twins.setdefault('student', []).append('teacher')
    return twins


def _pairs(
    model: nn.Module, copied: nn.Module, prefix: str, skip: str
) -> Iterator[tuple[str, str]]:
    """Which children of a model the parts of a copy were made from."""
    parts = list(copied.named_children()) if isinstance(copied, nn.Sequential) else []
    for key, part in [('', copied), *parts]:
        for name, child in model.named_children():
            if name != skip.split('.')[0] and type(child) is type(part) and _alike(child, part):
                yield name, f'{prefix}.{key}' if key else prefix


def _alike(one: nn.Module, other: nn.Module) -> bool:
    shapes = [{k: v.shape for k, v in m.state_dict().items()} for m in (one, other)]
    return shapes[0] == shapes[1]
