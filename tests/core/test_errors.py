"""core/errors.py: the error class and the nearest names."""

import pytest

from mmcompress.core import CompressionError
from mmcompress.core.errors import nearest

NAMES = ['backbone.conv1', 'backbone.conv2', 'head.fc', 'neck']


def test_it_is_a_value_error():
    assert issubclass(CompressionError, ValueError)


@pytest.mark.parametrize(
    ('name', 'first'),
    [('backbone.conv11', "'backbone.conv1'"), ('nekc', "'neck'"), ('head.fcc', "'head.fc'")],
)
def test_the_nearest_name_comes_first(name, first):
    assert nearest(name, NAMES).split(', ')[0] == first


def test_no_more_than_asked_for():
    assert nearest('backbone.conv', NAMES, most=1).count("'") == 2
    assert nearest('backbone.conv', iter(NAMES)).count("'") == 4


def test_something_valid_is_offered_when_nothing_is_close():
    assert nearest('zzzzzzzzz', NAMES, most=2) == "'backbone.conv1', 'backbone.conv2'"
    assert nearest(3, ['neck']) == "'neck'"
    assert nearest('a', []) == 'none'
