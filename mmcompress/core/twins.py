"""Momentum copies: parts of a model that follow another part and so must have its widths."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from mmengine.model import BaseAveragedModel
from torch import nn

from .channels import UnitConfig


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


def with_twins(unit: UnitConfig, twins: dict[str, list[str]]) -> UnitConfig:
    """The unit with the same channels of all momentum copies."""
    channels = list(unit.channels)
    for channel in unit.channels:
        for source, copies in twins.items():
            if f'{channel.name}.'.startswith(f'{source}.'):
                rest = channel.name.removeprefix(source)
                channels.extend(replace(channel, name=copy + rest) for copy in copies)
    return replace(unit, channels=channels)
