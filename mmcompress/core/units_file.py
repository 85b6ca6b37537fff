"""Read what ``tools/get_channel_units.py`` wrote, and keep ratios in all their forms."""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Iterable, Mapping
from numbers import Real
from pathlib import Path
from typing import Any

from .errors import CompressionError, nearest


def load_json(path: str | Path, key: str, tool: str = 'get_channel_units') -> dict:
    """Read a JSON object.

    Args:
        path: The file.
        key: The config key that names it, for the error.
        tool: The tool that writes such files, for the error.

    Raises:
        CompressionError: If there is no such file, or it doesn't hold a JSON object.
    """
    try:
        content = json.loads(Path(path).read_text(encoding='utf-8'))
    except FileNotFoundError:
        raise CompressionError(f'{key}: there is no file {str(path)!r}') from None
    except (OSError, UnicodeDecodeError) as error:
        raise CompressionError(f'{key}: {str(path)!r} cannot be read: {error}') from None
    except json.JSONDecodeError as error:
        raise CompressionError(
            f'{key}: {str(path)!r} is not a complete JSON file ({error}); write it again with '
            f'tools/{tool}.py'
        ) from None
    if not isinstance(content, dict):
        raise CompressionError(
            f'{key}: {str(path)!r} holds a {type(content).__name__}, not an object of unit names'
        )
    return content


def units_in(content: dict) -> dict:
    """The units of a file, whether it is the whole mutator config or units alone.

    Raises:
        CompressionError: If it is a mutator config without a dict of units.
    """
    if 'channel_unit_cfg' not in content:
        return content
    config = content['channel_unit_cfg']
    units = config.get('units') if isinstance(config, dict) else None
    if not isinstance(units, dict):
        raise CompressionError(
            'channel_unit_cfg of the file has no dict of `units`; write it again with '
            'tools/get_channel_units.py'
        )
    return units


def is_units_file(path: str | Path) -> bool:
    """Whether a file is one of ``get_channel_units.py``: units, or keep ratios by name."""
    try:
        units = units_in(load_json(path, 'file'))
    except CompressionError:
        return False
    return bool(units) and all(
        re.search(r'_\(\d+, \d+\)_\d+$', name)
        and (isinstance(unit, Real) or (isinstance(unit, dict) and 'choice' in unit))
        for name, unit in units.items()
    )


def keep_ratios(
    target: Any,
    names: Iterable[str],
    key: str = 'target_pruning_ratio',
    default: float = 1.0,
    refused: Mapping[str, str] | None = None,
) -> dict[str, float]:
    """Keep ratio of every unit.

    Args:
        target: ``None`` (keep all), a ratio for all units, a dict of ratios by unit name
            (shell wildcards allowed; a full name wins over a pattern, a later pattern over an
            earlier one), or the path of a file from ``get_channel_units.py``.
        names: Names of all units.
        key: The config key that ``target`` is the value of, for errors.
        default: Keep ratio of units that ``target`` doesn't mention.
        refused: Why units can't be made narrower, by their names. They may be named all the
            same, as keeping everything: files list the units of the analyzer, of which
            a method may refuse some.

    Returns:
        A ratio for each name.

    Raises:
        CompressionError: If a name matches no unit or a ratio is not a number in (0, 1].
    """
    names = list(names)
    ratios = dict.fromkeys(names, float(default))
    refused = refused or {}
    if target is None:
        return ratios
    if isinstance(target, (str, Path)):
        content = units_in(load_json(target, key))
        target = {
            name: unit.get('choice', 1.0) if isinstance(unit, dict) else unit
            for name, unit in content.items()
        }
    if not isinstance(target, dict):
        return dict.fromkeys(names, check_ratio(target, key))
    if not target:
        raise CompressionError(f'{key} is empty; it has to name at least one channel unit')
    exact = {}
    for name, ratio in target.items():
        if not isinstance(name, str):
            raise CompressionError(
                f'{key}: {name!r} is no name; the units are {nearest(str(name), names)} ...'
            )
        ratio = check_ratio(ratio, f'{key}[{name!r}]')
        if name in ratios:
            exact[name] = ratio
            continue
        if name in refused:
            if ratio == 1:
                continue
            raise CompressionError(f'{key}: {name!r} has to keep all channels: {refused[name]}')
        matched = fnmatch.filter(names, name)
        if not matched:
            raise CompressionError(
                f'{key}: {name!r} matches no channel unit of the architecture; the nearest '
                f'names are {nearest(name, names)}'
            )
        ratios.update(dict.fromkeys(matched, ratio))
    return {**ratios, **exact}


def check_ratio(value: Any, key: str) -> float:
    """``value`` if it is a keep ratio.

    Raises:
        CompressionError: If it isn't a number in (0, 1].
    """
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 < value <= 1:
        raise CompressionError(
            f'{key} is {value!r}; a keep ratio is a number above 0 and at most 1'
        )
    return float(value)
