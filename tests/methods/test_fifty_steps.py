"""The first 50 steps of every method equal those of its authors' program, written down here again.

``fifty_steps.py`` is the frame, ``authors.py`` in the folder of a method the restatement.
"""

import importlib.util
import re
from pathlib import Path

import pytest

_spec = importlib.util.spec_from_file_location(
    'fifty_steps', Path(__file__).with_name('fifty_steps.py')
)
frame = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(frame)

ALL = list(frame.everything())
EQUAL = [(method, name) for method, name, departure, _ in ALL if not departure]
DEPARTURES = [row for row in ALL if row[2]]


@pytest.mark.slow
@pytest.mark.parametrize(('method', 'name'), EQUAL, ids=lambda value: value)
def test_equal(method, name):
    steps, ends = frame.gaps(method, name)
    assert len(steps) == 50
    assert max(steps) < 1e-6, steps
    assert len(ends) > 5
    assert max(ends.values()) < 1e-6, ends


@pytest.mark.slow
@pytest.mark.parametrize(
    ('method', 'name', 'departure', 'options'),
    DEPARTURES,
    ids=[f'{method}, {departure}' for method, _, departure, _ in DEPARTURES],
)
def test_each_departure_is_one(method, name, departure, options):
    """With our way in one point alone, losses differ: the point matters, and is compared."""
    steps, _ = frame.gaps(method, name, options)
    assert max(steps) > 1e-5


def test_restatements_are_independent():
    assert set(frame.METHODS) == {'dcff', 'fcf', 'filter_basis', 'linear_conv', 'shared_basis'}
    for path in [*Path(__file__).parent.glob('*/authors.py'), frame.HERE / 'literal.py']:
        assert not re.search(r'^\s*(import|from) mmcompress', path.read_text(), re.MULTILINE)
