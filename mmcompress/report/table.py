"""Results for people (a table) and for programs (JSON)."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from mmcompress.core.checks import is_number

_UNITS = ((1e9, 'G'), (1e6, 'M'), (1e3, 'k'))
_COUNTS = ('params', 'macs')


def print_table(
    rows: list[dict[str, Any]],
    title: str | None = None,
    console: Console | None = None,
    headers: Sequence[str] | None = None,
) -> None:
    """Print rows as a table on the terminal.

    Args:
        rows: One dict a row. Columns are all keys, in the order in which they first appear; a
            missing value leaves its cell empty.
        title: A line above.
        console: Where to print. Default: standard output.
        headers: What stands above the columns. Default: their keys.
    """
    columns = list(dict.fromkeys(key for row in rows for key in row))
    table = Table(title=title, title_justify='left')
    for header, column in zip(headers or columns, columns, strict=True):
        numeric = all(is_number(row[column]) for row in rows if row.get(column) is not None)
        table.add_column(header, justify='right' if numeric else 'left')
    for row in rows:
        table.add_row(*(format_value(column, row.get(column)) for column in columns))
    (console or Console()).print(table)


def wide_console() -> Console:
    """Standard output; in a file or a pipe, nothing asks for narrow lines."""
    return Console(width=None if sys.stdout.isatty() else 240)


def markdown_table(columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """A table in Markdown, without a newline at its end.

    Args:
        columns: What stands above the columns.
        rows: The cells of each row, in the order of the columns.
    """
    lines = [list(columns)]
    lines += [['---'] * len(lines[0]), *([str(cell) for cell in row] for row in rows)]
    return '\n'.join(
        f'|{"|".join(f" {cell} " if cell else " " for cell in cells)}|' for cells in lines
    )


def write_json(rows: list[dict[str, Any]], path: str | os.PathLike) -> None:
    """Write rows as JSON, in full precision, for later runs to compare with.

    Args:
        rows: As for :func:`print_table`.
        path: The file; its folder is made when missing.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows, indent=2, default=_plain) + '\n', encoding='utf-8')


def format_value(column: str, value: Any) -> str:
    """One cell: counts with a unit (``126.55M``), files in kB or MB, other floats with four digits.

    Args:
        column: Name of the column; those with ``params`` or ``macs`` in it hold counts, those
            with ``bytes`` sizes of files, in kB of 1,000 bytes.
        value: What to show; None shows nothing.
    """
    if value is None:
        return ''
    if not is_number(value):
        return str(value)
    if isinstance(value, Integral) and 'bytes' in column.lower():
        return f'{int(value) / 1e3:.1f} kB' if value < 1e6 else f'{int(value) / 1e6:.2f} MB'
    if isinstance(value, Integral) and any(word in column.lower() for word in _COUNTS):
        count = int(value)
        for unit, letter in _UNITS:
            if count >= unit:
                return f'{count / unit:.2f}{letter}'
    return str(value) if isinstance(value, Integral) else f'{value:.4g}'


def _plain(value: Any) -> Any:
    """Numbers of numpy and one-element tensors, as JSON knows them."""
    if hasattr(value, 'item'):
        return value.item()
    raise TypeError(f'{type(value).__name__} cannot be written as JSON: {value!r}')


def progress_bar() -> Progress:
    """A progress bar on standard error."""
    return Progress(
        TextColumn('{task.description}'),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
    )
