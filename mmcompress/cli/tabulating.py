"""Networks of published rows, built from our configs and counted."""

from __future__ import annotations

import contextlib
import fnmatch
import functools
import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config, utils
from mmengine.logging import MMLogger
from torch import nn

from mmcompress.core.base.image_shape import image_shape
from mmcompress.core.errors import CompressionError
from mmcompress.report.complexity import operations, parameters
from mmcompress.report.models import dense_and_compact, in_a_mode
from mmcompress.report.published import Row, read_rows
from mmcompress.report.published_tables import compare
from mmcompress.report.table import progress_bar

from .launch import load_config, shipped_configs
from .rows import config_path

#: Around the tables in a Markdown file.
BEGIN, END = '<!-- mmcompress tables -->', '<!-- end of mmcompress tables -->'


def published_folder() -> Path:
    """Where the published rows are."""
    return shipped_configs() / 'published'


def count_rows(
    systems: Sequence[str] | None = None, names: Sequence[str] | None = None
) -> list[dict[str, Any]]:
    """Build and count the network of each published row.

    Args:
        systems: Of which systems; all by default.
        names: Of rows, with wildcards; all by default.

    Returns:
        For each row what :func:`~mmcompress.report.published_tables.compare` returns.

    Raises:
        CompressionError: If there is no such system or row, or a row can't be built.
    """
    rows = read_rows(published_folder(), systems)
    if names is not None:
        rows = [row for row in rows if any(fnmatch.fnmatch(row.row, name) for name in names)]
        if not rows:
            raise CompressionError(f'--row: no published row has a name like {", ".join(names)}')
    done: dict[str, dict[str, Any]] = {}
    results = []
    with _quiet(), metafiles_read_once(), progress_bar() as progress:
        task = progress.add_task('', total=len(rows))
        for row in rows:
            progress.update(task, description=f'{row.system} {row.row}')
            if row.config is None:
                results.append(compare(row, None))
            else:
                key = json.dumps([row.config, row.compress, row.options, row.shape, row.model])
                if key not in done or not _has_all(row, done[key]):
                    done[key] = count_row(row)
                results.append(compare(row, done[key]))
            progress.advance(task)
    return results


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Inside, networks say nothing of how they are built."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextlib.contextmanager
def metafiles_read_once() -> Iterator[None]:
    """Inside, mmengine reads the metafiles of a library once, instead of for each of its configs.

    That is half of the time that a small network takes.
    """
    load = utils.load
    utils.load = functools.cache(load)
    try:
        yield
    finally:
        utils.load = load


def _has_all(row: Row, counted: dict[str, Any]) -> bool:
    """Whether another row's counts are all that this one needs."""
    needs_dense = any(name.endswith('_down') for name in row.published)
    return row.module is None and (not needs_dense or 'dense' in counted)


def row_config(row: Row) -> Config:
    """The config of a row, with its options in it.

    Raises:
        CompressionError: If there's no such config, or an option doesn't fit it.
    """
    return load_config(config_path(row), row.compress, dict(row.options))


def count_row(row: Row) -> dict[str, Any]:
    """Parameters and operations of a row's network.

    Returns:
        See :func:`~mmcompress.report.published_tables.values`.
    """
    cfg = row_config(row)
    name = row.model or ('compact' if 'architecture' in cfg.model else 'dense')
    wanted = {name}
    if any(figure.endswith('_down') for figure in row.published):
        wanted.add('dense')
    networks = dense_and_compact(cfg, names=wanted)
    if name not in networks:
        raise CompressionError(
            f'row {row.row!r} of {row.system} counts {name!r}; its config makes '
            f'{", ".join(networks)}'
        )
    shape = row.shape or image_shape(cfg, None)
    counted: dict[str, Any] = _count(networks[name], shape, row.operations)
    if row.module is not None:
        module = networks[name].get_submodule(row.module)
        counted['module_params'] = sum(p.numel() for p in module.parameters())
    if 'dense' in wanted and name != 'dense':
        counted['dense'] = _count(networks['dense'], shape, row.operations)
    return counted


def _count(model: nn.Module, shape: Sequence[int], with_operations: bool) -> dict[str, int]:
    if not with_operations:
        return parameters(model)
    return in_a_mode(model, shape, lambda mode: operations(model, shape, mode=mode))


def replace_tables(path: str, text: str) -> None:
    """Put the tables between the marks of a Markdown file.

    Raises:
        CompressionError: If it doesn't have both marks.
    """
    file = Path(path)
    content = file.read_text(encoding='utf-8')
    start, end = content.find(BEGIN), content.find(END)
    if not -1 < start < end:
        raise CompressionError(f'--markdown: {path} has no {BEGIN} with {END} behind it')
    file.write_text(f'{content[: start + len(BEGIN)]}\n\n{text}\n{content[end:]}', encoding='utf-8')
