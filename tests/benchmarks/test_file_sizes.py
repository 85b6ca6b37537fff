"""benchmarks/file_sizes.py: every method's export of the demo's network, and what its row says."""

from __future__ import annotations

import pytest
from file_sizes import METHODS, measure, shown


@pytest.mark.parametrize('method', METHODS)
def test_a_row(method: str) -> None:
    row = measure('resnet20', method)
    assert row['within']
    assert row['compact_bytes'] < row['dense_bytes']
    assert row['stored_bytes'] < row['compact_bytes'] < row['checkpoint_bytes']
    assert row['slim_bytes'] == pytest.approx(
        row['checkpoint_bytes'] - row['optimizer_bytes'], abs=3e4
    )
    assert shown(row)['within 2 % + 64 kB'] == 'yes'
