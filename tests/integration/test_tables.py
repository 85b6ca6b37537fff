"""Published rows: all networks built and counted, as `mmcompress tables` prints them.

Among them are those of mmdet, mmseg and mmpose.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mmcompress.cli.tabulating import (
    BEGIN,
    END,
    count_rows,
    published_folder,
    replace_tables,
    row_config,
)
from mmcompress.core.errors import CompressionError
from mmcompress.report.published import read_rows
from mmcompress.report.published_tables import summary, to_markdown

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / 'docs/results.md'


@pytest.fixture(scope='module')
def counted() -> list[dict[str, Any]]:
    return count_rows()


def test_the_page_of_results_is_what_the_command_prints(counted: list[dict[str, Any]]) -> None:
    text = RESULTS.read_text(encoding='utf-8')
    shown = text[text.index(BEGIN) + len(BEGIN) : text.index(END)]
    assert shown.strip() == to_markdown(counted).strip()


def test_counts_of_the_authors_programs(counted: list[dict[str, Any]]) -> None:
    """Parameters to the last, operations to 1e-4."""
    compared = 0
    for result in counted:
        for name, count in result['program'].items():
            tolerance = 0 if name.endswith('params') else 1e-4
            ours = result['counted'][name]
            assert ours == pytest.approx(count, rel=tolerance, abs=0), (result['row'], name)
            compared += 1
    assert compared >= 80


def test_published_rows_agree_or_say_why_not(counted: list[dict[str, Any]]) -> None:
    published = [result for result in counted if result['published']]
    assert len(published) >= 52
    for result in published:
        if result['verdict'] != 'printed':
            assert result['note'], (result['system'], result['row'])
    assert summary(counted)[-1]['agree'] >= 52
    # The detector's printed count has a classifier.
    detector = next(result for result in counted if result['row'] == 'faster-rcnn')
    assert detector['counted']['params'] + 1843 * 1000 + 1000 == 33_309_831


def test_names_are_unique() -> None:
    for system in {row.system for row in read_rows(published_folder())}:
        names = [row.row for row in read_rows(published_folder(), [system])]
        assert len(names) == len(set(names)), system


def test_on_the_command_line(call: Callable[..., str], tmp_path: Path) -> None:
    """One row by its options: the authors' `-t rank -r 1`."""
    words = ('--system', 'linear_conv', '--row', 'base', 'vgg11-r?')
    found = json.loads(call('tables', *words, '--json'))
    assert [row['counted']['params'] for row in found['rows']] == [227418, 5222314]
    assert found['summary'][0]['variants'] == 2
    page = tmp_path / 'page.md'
    page.write_text(f'before\n{BEGIN}\nold\n{END}\nafter\n')
    call('tables', '--row', 'base', '--markdown', page)
    text = page.read_text()
    assert text.startswith(f'before\n{BEGIN}\n\n| system |')
    assert text.endswith(f'\n{END}\nafter\n')
    assert '227,418' in text
    assert 'old' not in text
    assert '227,418' in call('tables', '--row', 'base')


def test_what_is_not_there(tmp_path: Path) -> None:
    for kwargs, key in (
        (dict(systems=['dccf']), "'dccf'.*'dcff'"),
        (dict(systems=['dcff'], names=['vgg17']), 'vgg17'),
    ):
        with pytest.raises(CompressionError, match=key):
            count_rows(**kwargs)
    rows = {row.row: row for row in read_rows(published_folder(), ['dcff'])}
    with pytest.raises(CompressionError, match='resnet50-1.31b'):
        row_config(rows['resnet50-1.31b'])
    (tmp_path / 'x.md').write_text('nothing')
    with pytest.raises(CompressionError, match='x.md'):
        replace_tables(str(tmp_path / 'x.md'), 'text')
