"""Our analyzer and MMRazor's, asked the same of the same model.

MMRazor 1.0 does not import next to the current mmcv, mmpretrain and torch; it does with the
stand-ins of :mod:`mmcompress.compat`, which importing mmcompress puts in place. What is compared
here is its analysis proper, as its own ``tools/pruning/get_channel_units.py`` calls it.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from isolated import reason_of
from library_coverage import covered_share, fault_at_one_half, narrow_to_half
from torch import nn

from mmcompress.core.channels.analyzer import DependencyAnalyzer
from mmcompress.core.channels.config import UnitConfig
from mmcompress.core.errors import CompressionError

#: Ours, and MMRazor's with either of its tracers.
ANALYZERS = ('mmcompress', 'FxTracer', 'BackwardTracer')
#: MMRazor's default demo image, N C H W.
INPUT_SHAPE = (1, 3, 224, 224)

Narrow = Callable[[nn.Module], None]


@dataclass
class Record:
    """What one analyzer made of one config.

    ``seconds`` is the time of the analysis alone; ``covered`` the share of the backbone's
    convolution widths in its units. ``reason`` is empty where it found a unit in the backbone.
    ``half`` is empty where it did not; else ``runs`` if loss and predict run with all units at
    half their width, or what goes wrong.
    """

    config: str
    backbone: str
    analyzer: str
    units: int = 0
    covered: float = 0.0
    seconds: float | None = None
    half: str = ''
    reason: str = ''


def blank(config: str, backbone: str) -> list[Record]:
    """Records to fill in for a config."""
    return [Record(config, backbone, analyzer) for analyzer in ANALYZERS]


def preload(libraries: Iterable[str]) -> None:
    """Import what any of the analyzers would import on the way, so that no clock runs meanwhile.

    Raises:
        CompressionError: If MMRazor or one of the libraries can't be imported.
    """
    names = ['mmrazor.models']
    for library in libraries:
        names += [f'{library}.models', f'{library}.testing', f'{library}.testing._utils']
    for name in names:
        try:
            importlib.import_module(name)
        except ImportError as error:
            if not name.startswith(error.name or '') or '.testing' not in name:
                raise CompressionError(f'{name} cannot be imported: {error}') from None


def fill_in(record: Record, model: nn.Module) -> Record:
    """Analyze a model with the record's analyzer; then check the units as ours are checked."""
    analyze = _ours if record.analyzer == 'mmcompress' else _mmrazors
    begin = time.perf_counter()
    units, narrow = analyze(record, model)
    record.seconds = time.perf_counter() - begin
    record.units = len(units)
    record.covered = covered_share(model, units)
    if not record.covered:
        record.reason = f'{len(units)} units, none of them in the backbone'
        return record
    try:
        record.half = fault_at_one_half(model, narrow) or 'runs'
    except Exception as error:  # by now the analysis has succeeded
        record.half = reason_of(error)
    return record


def _ours(record: Record, model: nn.Module) -> tuple[list[UnitConfig], Narrow]:
    units = list(DependencyAnalyzer().analyze(model).units.values())
    return units, lambda work: narrow_to_half(work, units)


def _mmrazors(record: Record, model: nn.Module) -> tuple[list[UnitConfig], Narrow]:
    from mmrazor.models.mutables import SequentialMutableChannelUnit
    from mmrazor.models.task_modules.demo_inputs import DefaultDemoInput
    from mmrazor.models.task_modules.tracer import ChannelAnalyzer

    # Its tool names the config's scope; it copies the model and reverts SyncBN by itself.
    demo_input = DefaultDemoInput(INPUT_SHAPE, scope=record.config.split('::')[0])
    found = ChannelAnalyzer(demo_input, record.analyzer).analyze(model)

    def narrow(work: nn.Module) -> None:
        units = [SequentialMutableChannelUnit.init_from_cfg(work, c) for c in found.values()]
        for unit in units:
            unit.prepare_for_pruning(work)
        for unit in units:
            unit.current_choice = 0.5
        for module in work.modules():
            # The layers that it puts in place of others come in training mode.
            module.training = False

    return [UnitConfig.from_dict(config) for config in found.values()], narrow
