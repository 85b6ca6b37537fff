"""docs/doors.md names tests that are there."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_every_test_of_the_table_exists():
    page = (ROOT / 'docs' / 'doors.md').read_text()
    named = re.findall(r'`(test_\w+\.py)::(test_\w+)`', page)
    assert len(named) == page.count('\n| ') - 2, 'one a line'
    for file, name in named:
        assert f'\ndef {name}(' in (ROOT / 'tests' / 'integration' / file).read_text(), name
