"""core/base/figure.py: figures as JSON."""

import json

import pytest

from mmcompress.core.base.figure import Figure, Series


def test_what_is_empty_is_left_out():
    figure = Figure(
        'some', 'Some', 'points', 'x', 'y', [Series('a', [1], [0.0], style=0)],
        front=Series('front', [], []),
    )  # fmt: skip
    assert json.loads(json.dumps(figure.as_dict())) == dict(
        name='some', title='Some', kind='points', x='x', y='y',
        series=[dict(name='a', x=[1], y=[0.0], style=0)],
        front=dict(name='front', x=[], y=[]),
    )  # fmt: skip


def test_a_kind_that_nobody_draws():
    with pytest.raises(ValueError, match=r"kind is 'pie'.*lines, points"):
        Figure('some', 'Some', 'pie', 'x', 'y')
