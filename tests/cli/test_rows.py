"""cli/rows.py: which rows there are."""

import pytest

from mmcompress.cli.launch import shipped_configs
from mmcompress.cli.rows import accuracy_of, find_row, rows_of
from mmcompress.core import CompressionError


def test_every_recipe_is_a_row():
    """Of one system, once by a published name or by its own."""
    configs = shipped_configs()
    recipes = {
        path.relative_to(configs).as_posix()
        for path in (configs / 'pruning').rglob('*.py')
        if '_compact_' not in path.name
    }
    rows = rows_of()
    assert recipes <= {row.config for row in rows}
    assert all((configs / row.config).is_file() for row in rows if '::' not in row.config)
    assert len({(row.system, row.row) for row in rows}) == len(rows)
    own = [row for row in rows if not row.source]
    assert len({row.config for row in own}) == len(own)


def test_published_accuracies():
    """Errors become accuracies."""
    row = find_row('filter_basis', 'resnet56')
    assert accuracy_of(row) == 93.4
    assert 'ICCV 2019' in row.source
    assert accuracy_of(find_row('mm', 'faster-rcnn')) == 35.8
    assert accuracy_of(find_row('fcf', 'resnet20')) is None
    assert find_row('fcf', 'resnet20').options == {'model.mutator_cfg.scale': 'weight'}


@pytest.mark.parametrize(
    ('words', 'said'),
    [
        (('dcf', 'vgg16'), r"SYSTEM is 'dcf'; .*'dcff'"),
        (('dcff', 'resnet65'), r"ROW is 'resnet65'; .*'resnet56'"),
    ],
)
def test_names_that_are_none(words, said):
    with pytest.raises(CompressionError, match=said):
        find_row(*words)
