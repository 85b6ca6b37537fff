"""Channel units as MMRazor writes them, in the form that mmcompress reads.

MMRazor's ``get_channel_units.py`` and ``fix_subnet.json`` hold the same units under the same names,
and three things besides: how MMRazor rounds widths (``choice_mode``, ``min_ratio``, ...), widths in
place of ratios, and steps of the forward pass that are no layers (``<built-in function add>``).
"""

from __future__ import annotations

from typing import Any

import torch

#: Arguments of MMRazor's units that say how it rounds a width, or what its searches may choose.
#: With divisor 1, its default, both round down.
ROUNDING = ('choice_mode', 'candidate_choices', 'min_value', 'min_ratio')


def as_ours(units: dict[str, Any]) -> dict[str, Any]:
    """Units of a file of either, in our form; what isn't MMRazor's is left as it is.

    Args:
        units: Units by name; the values may be anything a user wrote.
    """
    return {name: _unit(unit) if isinstance(unit, dict) else unit for name, unit in units.items()}


def without_rounding(args: Any) -> Any:
    """Arguments of a unit without those of MMRazor that say how to round."""
    if not isinstance(args, dict):
        return args
    return {key: value for key, value in args.items() if key not in ROUNDING}


def is_step(name: Any) -> bool:
    """Whether MMRazor's name for a place in the network is that of a function or tensor method."""
    return isinstance(name, str) and (name.startswith('<') or hasattr(torch.Tensor, name))


def _unit(unit: dict) -> dict:
    unit = dict(unit)
    args = unit.get('init_args')
    if not isinstance(args, dict):
        return unit
    unit['init_args'] = without_rounding(args)
    total: Any = args.get('num_channels')
    choice: Any = unit.get('choice')
    if args.get('choice_mode') == 'number' and _counts(total) and _counts(choice):
        unit['choice'] = choice / total
    channels = unit.get('channels')
    if isinstance(channels, dict):
        unit['channels'] = {side: _layers(entries) for side, entries in channels.items()}
    return unit


def _layers(entries: Any) -> Any:
    if not isinstance(entries, list):
        return entries
    return [e for e in entries if not (isinstance(e, dict) and is_step(e.get('name')))]


def _counts(number: Any) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and number > 0
