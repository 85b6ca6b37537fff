"""Read files of units as ``mmcompress units`` writes them, and keep ratios in all their forms."""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

from mmcompress.compat.mmrazor.units import as_ours, without_rounding
from mmcompress.core.checks import check_ratio
from mmcompress.core.errors import CompressionError, nearest

from .rates import RATES, ratios_in_order

#: Keys of a mutator's config that hold its units.
UNIT_CONFIGS = ('channel_unit_cfg', 'filter_unit_cfg')


def load_json(path: str | Path, key: str, verb: str = 'units') -> dict:
    """Read a JSON object.

    Args:
        path: The file.
        key: The config key that names it, for the error.
        verb: The verb of ``mmcompress`` that writes such files, for the error.

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
            f'`mmcompress {verb}`'
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
    key = next((key for key in UNIT_CONFIGS if key in content), None)
    if key is None:
        return content
    config = content[key]
    units = config.get('units') if isinstance(config, dict) else None
    if not isinstance(units, dict):
        raise CompressionError(
            f'{key} of the file has no dict of `units`; write it again with `mmcompress units`'
        )
    return units


def read_unit_config(config: dict | str | Path, key: str, parts: str) -> dict:
    """The part of a mutator's config that is about units, in one form.

    Args:
        config: A dict with ``type``, ``default_args`` and ``units``, each of which may be left
            out; ``units`` may be the path of a JSON file. Or the path of a file with all of it.
        key: The config key that it is the value of.
        parts: What units consist of, for errors: ``channels`` or ``layers``.

    Returns:
        A copy whose ``units`` is a dict of dicts by name.

    Raises:
        CompressionError: If anything isn't of the type it has to be.
    """
    if isinstance(config, (str, Path)):
        config = load_json(config, key)
    if not isinstance(config, dict):
        raise CompressionError(f'{key} is {config!r}; it has to be a dict')
    config = dict(config.get(key, config))
    if 'default_args' in config:
        config['default_args'] = without_rounding(config['default_args'])
    _check_keys(config, ('type', 'default_args', 'units'), key)
    if not isinstance(config.get('default_args', {}), dict):
        raise CompressionError(
            f'{key}.default_args is {config["default_args"]!r}; it has to be a dict'
        )
    units = config.get('units') or {}
    if isinstance(units, (str, Path)):
        units = units_in(load_json(units, f'{key}.units'))
    if not isinstance(units, dict):
        raise CompressionError(
            f'{key}.units is {units!r}; it has to be a dict by unit name, or the path of a '
            'JSON file'
        )
    units = as_ours(units)
    for name, unit in units.items():
        if not isinstance(unit, dict) or not isinstance(unit.get('init_args', {}), dict):
            raise CompressionError(
                f'{key}.units[{name!r}] is {unit!r}; it has to be a dict with init_args, '
                f'{parts} or choice'
            )
        _check_keys(unit, ('init_args', parts, 'choice'), f'{key}.units[{name!r}]')
    config['units'] = units
    return config


def _check_keys(config: dict, known: Sequence[str], key: str) -> None:
    for name in config:
        if name not in known:
            raise CompressionError(f'{key} has {name!r}; it takes {", ".join(known)}')


def is_units_file(path: str | Path, names: Iterable[str] = ()) -> bool:
    """Whether a file is one of ``get_channel_units.py``: units, or keep ratios by name.

    Args:
        path: The file.
        names: Names of units that keep ratios alone may be for, beside those of channel units.
    """
    try:
        content = load_json(path, 'file')
        units = units_in(content)
    except CompressionError:
        return False
    names = set(names)
    known = [units is not content or name in names or _is_channel_unit(name) for name in units]
    return bool(units) and all(
        is_known and (isinstance(unit, Real) or (isinstance(unit, dict) and 'choice' in unit))
        for is_known, unit in zip(known, units.values(), strict=True)
    )


def _is_channel_unit(name: str) -> bool:
    return re.search(r'_\(\d+, \d+\)_\d+$', name) is not None


def keep_ratios(
    target: Any,
    names: Iterable[str],
    key: str = 'target_pruning_ratio',
    default: float = 1.0,
    refused: Mapping[str, str] | None = None,
    kind: str = 'channel unit',
) -> dict[str, float]:
    """Keep ratio of every unit.

    Args:
        target: ``None`` (keep all), a ratio for all units, a dict of ratios by unit name
            (shell wildcards allowed; a full name wins over a pattern, a later pattern over an
            earlier one), the path of a file from ``get_channel_units.py``, or a list of pruning
            rates, see :func:`~mmcompress.core.base.rates.ratios_in_order`.
        names: Names of all units.
        key: The config key that ``target`` is the value of, for errors.
        default: Keep ratio of units that ``target`` doesn't mention.
        refused: Why units can't be made narrower, by their names. They may be named all the
            same, as keeping everything: files list the units of the analyzer, of which
            a method may refuse some.
        kind: What units are called, for errors.

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
        content = as_ours(units_in(load_json(target, key)))
        target = {
            name: unit.get('choice', 1.0) if isinstance(unit, dict) else unit
            for name, unit in content.items()
        }
    if not isinstance(target, dict):
        return dict.fromkeys(names, check_ratio(target, key))
    if RATES in target:
        return {**ratios, **ratios_in_order(target, names, key)}
    if not target:
        raise CompressionError(f'{key} is empty; it has to name at least one {kind}')
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
                f'{key}: {name!r} matches no {kind} of the architecture; the nearest '
                f'names are {nearest(name, names)}'
            )
        ratios.update(dict.fromkeys(matched, ratio))
    return {**ratios, **exact}
