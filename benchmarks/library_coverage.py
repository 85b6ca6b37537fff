"""How much of a library's models the analyzer covers, checked by narrowing all of it at once."""

from __future__ import annotations

import importlib
import json
import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from mmcompress.core.base.pretrained import is_pretrained
from mmcompress.core.channels.analyzer import DependencyAnalyzer
from mmcompress.core.channels.config import UnitConfig, narrow_units
from mmcompress.core.errors import first_line
from mmcompress.core.layers.narrow import is_convolution
from mmcompress.core.probe.demo_inputs import forward_modes
from mmcompress.core.probe.probe import Probe, few_proposals, seeded, working_copy

#: Libraries whose configs are looked through.
LIBRARIES = ('mmpretrain', 'mmdet', 'mmseg', 'mmpose')
#: Backbones of the ResNet family, by the end of their class's name ...
FAMILY = re.compile(r'(Res(Net(V1[cd])?|NeXt|NeSt|2Net)(_CIFAR)?|HRNet|SCNet)$')
#: ... and, where the class has a depth, with one of these.
DEPTHS = (18, 34, 50, 101)
#: Sides of demo images for losses that need more room than the analysis.
LARGER = (128, 256)
#: Share of the backbone's convolution widths that verified units must cover.
ENOUGH = 0.9


@dataclass
class Record:
    """What one config came to.

    ``seconds`` is the time of the analysis alone; ``covered`` the share of the backbone's
    convolution widths that verified units cover; ``reason`` is empty where the config counts.
    """

    config: str
    model: str = ''
    backbone: str = ''
    units: int = 0
    verified: int = 0
    covered: float = 0.0
    seconds: float | None = None
    reason: str = ''


def config_root(library: str) -> Path:
    """The folder of the configs that an installed library ships."""
    return Path(importlib.import_module(library).__file__).parent / '.mim' / 'configs'


def config_names(library: str) -> list[str]:
    """``lib::path`` of every config of a library, sorted."""
    root = config_root(library)
    paths = (path.relative_to(root) for path in root.rglob('*.py'))
    return sorted(f'{library}::{path.as_posix()}' for path in paths if '_base_' not in path.parts)


def read_library_config(name: str) -> Config:
    """The config that ``lib::path`` names, from the installed library."""
    library, path = name.split('::')
    return Config.fromfile(config_root(library) / path)


def family_backbones(model: Any) -> list[str]:
    """Backbones of the ResNet family in a model's config, such as ``ResNet-50``."""
    found: set[str] = set()
    for backbone in _backbones(model):
        kind = str(getattr(backbone['type'], '__name__', backbone['type'])).split('.')[-1]
        depth = backbone.get('depth', backbone.get('arch'))
        if FAMILY.search(kind) and (not isinstance(depth, int) or depth in DEPTHS):
            found.add(kind if depth is None else f'{kind}-{depth}')
    return sorted(found)


def _backbones(value: Any, key: str = '') -> Iterator[dict]:
    if isinstance(value, dict):
        if key.startswith('backbone') and 'type' in value:
            yield value
        for name, item in value.items():
            yield from _backbones(item, name)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _backbones(item)


def without_checkpoints(value: Any) -> Any:
    """A model's config that loads nothing: weights play no part in the coupling of channels."""
    if isinstance(value, dict):
        return {
            key: False
            if key == 'pretrained' and item is True
            else None
            if key in ('pretrained', 'teacher_ckpt') or _is_pretrained(key, item)
            else without_checkpoints(item)
            for key, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        return type(value)(without_checkpoints(item) for item in value)
    return value


def _is_pretrained(key: str, item: Any) -> bool:
    return key == 'init_cfg' and isinstance(item, dict) and is_pretrained(item)


def fingerprint(cfg: Config) -> str:
    """Equal for configs whose models are built alike (another schedule, another data set)."""
    parts = [cfg.get('model'), cfg.get('data_preprocessor'), cfg.get('default_scope')]
    return json.dumps(without_checkpoints(parts), sort_keys=True, default=str)


def check(name: str, model: nn.Module, backbone: str = '') -> Record:
    """Analyze a model, narrow all of its units to one half at once, and run it.

    Args:
        name: For the record.
        model: A dense architecture, as its config builds it.
        backbone: For the record.

    Returns:
        The record; its ``reason`` says what is missing, if anything is.
    """
    record = Record(name, type(model).__name__, backbone)
    begin = time.perf_counter()
    analysis = DependencyAnalyzer().analyze(model)
    record.seconds = time.perf_counter() - begin
    record.verified = len(analysis.units)
    record.units = record.verified + len(analysis.rejected)
    record.covered = covered_share(model, analysis.units.values())
    units = analysis.units.values()
    why = fault_at_one_half(model, lambda work: narrow_to_half(work, units))
    if record.covered < ENOUGH:
        first = next(iter(analysis.rejected.items()), None)
        record.reason = f'{record.covered:.0%} of the widths covered' + (
            f'; {first[0]}: {first[1]}' if first else ''
        )
    record.reason = '; '.join(part for part in (why, record.reason) if part)
    return record


def covered_share(model: nn.Module, units: Iterable[UnitConfig]) -> float:
    """Share of the output channels of the backbone's convolutions that units stand for."""
    total = {
        name: module.out_channels
        for name, module in model.named_modules()
        if is_convolution(module) and 'backbone' in name.split('.')
    }
    covered = {name: torch.zeros(width, dtype=torch.bool) for name, width in total.items()}
    for unit in units:
        for channel in unit.producers:
            if channel.name in covered:
                covered[channel.name][channel.start : channel.end] = True
    return sum(int(mask.sum()) for mask in covered.values()) / max(sum(total.values()), 1)


def narrow_to_half(model: nn.Module, units: Iterable[UnitConfig]) -> None:
    """Narrow all units to half their width at once, in place."""
    narrow_units(model, [(u, max(u.num_channels // u.divisor // 2, 1) * u.divisor) for u in units])


def fault_at_one_half(model: nn.Module, narrow: Callable[[nn.Module], None]) -> str:
    """What goes wrong in ``loss`` and ``predict`` with every unit at half its width, or ``''``.

    Args:
        model: The dense model; it is left alone.
        narrow: Narrows a copy of it in place.
    """
    with seeded():
        work = few_proposals(working_copy(model))
        probe = Probe(work)
        before, fault = _structures(work, probe)
        for side in LARGER if fault else ():
            larger = Probe(work, (*probe.shape[:2], side, side))
            before, still = _structures(work, larger)
            if not still:
                probe, fault = larger, ''
                break
        if fault:
            return f'{fault} of the dense model'
        narrow(work)
        after, fault = _structures(work, probe)
        if fault:
            return f'{fault} of the narrow model'
    changed = [mode for mode in before if before[mode] != after[mode]]
    return f'{changed[0]} of the narrow model: another structure is returned' if changed else ''


def _structures(model: nn.Module, probe: Probe) -> tuple[dict[str, Any], str]:
    """What ``loss`` and ``predict`` return, by mode; or what they raise.

    Trackers whose parts are trained one by one have no ``loss`` of their own.
    """
    found = {}
    for mode in forward_modes(model):
        if mode != 'tensor':
            try:
                with torch.no_grad():
                    found[mode] = structure(probe.forward(model, mode))
            except NotImplementedError:
                continue
            except Exception as error:  # whatever a library's model raises on a demo batch
                return found, f'{mode} ({type(error).__name__}: {first_line(error)})'
    return found, '' if found else 'loss and predict (not implemented)'


def structure(output: Any) -> Any:
    """Keys, types and shapes of an output, without the first dimension of tensors.

    The first dimension is the batch, or a number of proposals that depends on values.
    """
    if isinstance(output, Tensor):
        return ('Tensor', str(output.dtype), tuple(output.shape[1:]))
    if isinstance(output, BaseDataElement):
        return (type(output).__name__, structure(dict(output.items())))
    if isinstance(output, dict):
        return {str(key): structure(item) for key, item in output.items()}
    if isinstance(output, (list, tuple)):
        return [structure(item) for item in output]
    return type(output).__name__
