"""docs/python.md and docs/python/: every block runs, and prints what the page says."""

import contextlib
import io
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / 'docs'
PAGES = [DOCS / 'python.md', *sorted((DOCS / 'python').glob('*.md'))]
#: What blocks show that need a library which the tests do without.
OTHERS = ('lightning.pytorch', 'transformers')


def blocks(page):
    found = re.findall(r'```python\n(.*?)```', page.read_text(encoding='utf-8'), re.DOTALL)
    return [block for block in found if not any(f' {name} ' in block for name in OTHERS)]


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.stem)
def test_the_page_runs(page, tmp_path, monkeypatch):
    if 'import timm' in page.read_text(encoding='utf-8'):
        pytest.importorskip('timm', reason='the page is about timm; requirements/tests.txt has it')
    monkeypatch.chdir(tmp_path)
    names, printed = {}, io.StringIO()
    for block in blocks(page):
        with contextlib.redirect_stdout(printed):
            exec(compile(block, str(page), 'exec'), names)
    text = page.read_text(encoding='utf-8')
    said = re.findall(r'prints `([^`]+)`', text)
    assert len(said) == text.count('\nprint(')
    # Some libraries print as well.
    assert set(said) <= set(printed.getvalue().splitlines())
    assert (tmp_path / 'work_dirs' / 'python').is_dir()


def test_all_other_blocks_compile():
    page = DOCS / 'python.md'
    found = re.findall(r'```python\n(.*?)```', page.read_text(encoding='utf-8'), re.DOTALL)
    assert len(found) - len(blocks(page)) == len(OTHERS)
    for block in found:
        compile(block, str(page), 'exec')
