"""The rows that can be trained: the published ones, and the recipes without a published figure."""

from __future__ import annotations

from functools import cache

from mmcompress.core.errors import CompressionError, nearest
from mmcompress.report.published import Row, read_rows, systems_in

from .launch import shipped_configs


def find_row(system: str, name: str) -> Row:
    """A row by its name.

    Raises:
        CompressionError: If there is none, or no recipe of it; with the nearest names.
    """
    rows = {row.row: row for row in rows_of(system)}
    if name in rows:
        return rows[name]
    for row in read_rows(shipped_configs() / 'published', [system]):
        if row.row == name:
            raise CompressionError(f'ROW is {name!r}, of which there is no recipe: {row.note}')
    raise CompressionError(
        f'ROW is {name!r}; the nearest of {system} are {nearest(name, rows)} (--list shows all)'
    )


def rows_of(system: str | None = None) -> list[Row]:
    """The rows of a system, or of all.

    Raises:
        CompressionError: If there is no such system; with the nearest names.
    """
    systems = all_rows()
    if system is None:
        return [row for rows in systems.values() for row in rows]
    if system not in systems:
        raise CompressionError(
            f'SYSTEM is {system!r}; the nearest are {nearest(system, systems, most=len(systems))}'
        )
    return systems[system]


def config_path(row: Row) -> str:
    """The config of a row as :func:`.launch.load_config` takes it: a library's, or ours.

    Raises:
        CompressionError: If it has none.
    """
    if row.config is None:
        raise CompressionError(f'row {row.row!r} of {row.system} has no config: {row.note}')
    return row.config if '::' in row.config else str(shipped_configs() / row.config)


@cache
def all_rows() -> dict[str, list[Row]]:
    """All rows by system: the published ones first, then recipes without a published figure."""
    configs = shipped_configs()
    rows: dict[str, list[Row]] = {name: [] for name in systems_in(configs / 'published')}
    for row in read_rows(configs / 'published'):
        if row.config is not None:
            rows[row.system].append(row)
    used = {row.config for found in rows.values() for row in found}
    for path in sorted((configs / 'pruning').glob('*/*/*.py')):
        config, system = path.relative_to(configs).as_posix(), path.parent.name
        if config not in used and system in rows and '_compact_' not in path.name:
            rows[system].append(Row(system, path.stem, path.stem, source='', config=config))
    return rows


def accuracy_of(row: Row) -> float | None:
    """The published figure, such as ``{'top-1 error': '6.18 %'}``, as an accuracy."""
    for name, text in row.accuracy.items():
        value = float(str(text).split()[0])
        return round(100 - value, 6) if name.endswith('error') else value
    return None
