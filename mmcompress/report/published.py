"""Published figures: rows of tables as data, and whether a count agrees with what is printed.

Each system has a file in ``configs/published``: ``sources``, the texts behind the names of
sources, and ``rows``. A row has these keys:

| key | meaning |
| --- | --- |
| ``row`` | its name, for command lines |
| ``network`` | network and data set, for people |
| ``source`` | where it is published: a key of ``sources`` |
| ``config`` | the config that builds the network, relative to ``configs/`` |
| ``options`` | settings of the config by key, as for ``--cfg-options`` |
| ``compress`` | a method file that compresses the config's model, as for ``--compress`` |
| ``model`` | what is counted: ``compact``, ``dense`` or ``static``, see :mod:`.models` |
| ``shape`` | ``(C, H, W)``, where it isn't that of the config |
| ``module`` | the module that ``module_params`` counts |
| ``operations`` | whether operations are counted too; of a thousand layers that takes long |
| ``counts`` | how the published operations were counted: a key of :data:`COUNTS` |
| ``published`` | figures as they are printed, by the names in :data:`FIGURES` |
| ``program`` | the same figures as a run of the authors' program counts them, exactly |
| ``accuracy`` | metrics as they are printed, by name |
| ``note`` | why figures differ, or what the row is about |

Only ``row``, ``network`` and ``source`` are needed. A row without ``config`` can't be built, and
its note says why.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import yaml

from mmcompress.core.checks import one_of
from mmcompress.core.errors import CompressionError, nearest

from .models import NETWORKS

#: Figures of a row. ``weights`` are parameters without those of norms, and ``flops`` are two for
#: each multiply-accumulate. Those with ``_down`` are the share in percent that is saved of the
#: dense network's.
FIGURES = ('params', 'weights', 'macs', 'flops', 'module_params', 'macs_down', 'params_down')
#: How operations are counted, and the words for it in notes.
COUNTS = {
    'mmengine': '',
    'products': 'multiplications of convolutions and linear layers only',
    'biases': 'each addition of a bias counts as an operation',
    'mmcv': 'biases, activations and max pools count too, as mmcv counts',
    'elements': 'products of layers, and each element that a norm, an activation or a pool reads',
}

_UNITS = {'': 1, '%': 1, 'k': 10**3, 'M': 10**6, 'G': 10**9, 'B': 10**9}
_PRINTED = re.compile(r'(\d+(?:\.\d+)?) ?([kMGB%]?)')


@dataclass(frozen=True)
class Row:
    """One row of a published table; the module's text says what the attributes mean."""

    system: str
    row: str
    network: str
    source: str
    config: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    compress: str | None = None
    model: str | None = None
    shape: tuple[int, int, int] | None = None
    module: str | None = None
    operations: bool = True
    counts: str = 'mmengine'
    published: Mapping[str, str] = field(default_factory=dict)
    program: Mapping[str, int] = field(default_factory=dict)
    accuracy: Mapping[str, str] = field(default_factory=dict)
    note: str = ''

    def __post_init__(self) -> None:
        where = f'row {self.row!r} of {self.system!r}'
        one_of(self.counts, COUNTS, f'counts of {where}')
        if self.model is not None:
            one_of(self.model, NETWORKS, f'model of {where}')
        for name in [*self.published, *self.program]:
            one_of(name, FIGURES, f'a figure of {where}')
        for text in self.published.values():
            parse(text)
        if self.config is None and not self.note:
            raise CompressionError(f'{where} has neither a config nor a note that says why')


def systems_in(folder: Path) -> list[str]:
    """The systems that have published rows, by the names of their files."""
    return sorted(file.stem for file in folder.glob('*.yml'))


def read_rows(folder: Path, systems: Iterable[str] | None = None) -> list[Row]:
    """The published rows.

    Args:
        folder: With a file for each system.
        systems: Their names; all by default.

    Raises:
        CompressionError: If there is no such system, or a row is wrong.
    """
    known = systems_in(folder)
    rows: list[Row] = []
    for system in known if systems is None else systems:
        if system not in known:
            raise CompressionError(
                f'there are no published rows of {system!r}; the nearest are '
                f'{nearest(system, known, len(known))}'
            )
        content = yaml.safe_load((folder / f'{system}.yml').read_text(encoding='utf-8'))
        for given in content['rows']:
            rows.append(_row(system, given, content['sources']))
    return rows


def _row(system: str, given: dict[str, Any], sources: dict[str, str]) -> Row:
    """A row as it is in the file, with the text of its source."""
    source = one_of(given.get('source'), sources, f'source of row {given.get("row")!r}')
    shape = given.get('shape')
    try:
        return Row(
            **{
                **given,
                'system': system,
                'source': sources[source],
                'shape': None if shape is None else tuple(shape),
            }
        )
    except TypeError as error:
        raise CompressionError(f'a row of {system!r} is wrong: {error}') from None


def parse(text: str) -> tuple[Decimal, Decimal]:
    """A printed figure as a number, and what a one in its last digit stands for.

    Example:
        >>> parse('72.77M')
        (Decimal('72770000.00'), Decimal('10000.00'))

    Raises:
        CompressionError: If it is no figure.
    """
    found = _PRINTED.fullmatch(str(text))
    if not found:
        raise CompressionError(f'a published figure is {text!r}; it has to be like 0.56M or 41.4 %')
    number, unit = Decimal(found[1]), Decimal(_UNITS[found[2]])
    return number * unit, Decimal((0, (1,), int(number.as_tuple().exponent))) * unit


def agreement(text: str, counted: float) -> str:
    """How a count agrees with a printed figure.

    Returns:
        ``rounded`` if the count, rounded to the printed digits, is the figure; ``cut`` if it is
        with its further digits cut off; else nothing.

    Example:
        >>> agreement('0.24M', 245_642), agreement('0.25M', 245_642), agreement('0.26M', 245_642)
        ('cut', 'rounded', '')
    """
    value, digit = parse(text)
    digits, exact = value / digit, Decimal(str(counted)) / digit
    if exact.quantize(Decimal(1), ROUND_HALF_UP) == digits:
        return 'rounded'
    return 'cut' if exact.quantize(Decimal(1), ROUND_DOWN) == digits else ''
