"""report/drawing.py: figures as PNG, and as SVG without colours of its own."""

import math
import re
import xml.etree.ElementTree as ET

import matplotlib
import pytest
from matplotlib.image import imread

from mmcompress.core.base.figure import KINDS, Figure, Series
from mmcompress.report.drawing import MOST_NAMED, png, svg, variables


def figure(kind, names=('one', 'two'), **more):
    data = {
        'lines': ([1, 2, 3], [0.1, 1.0, 10.0]),
        'points': ([2.0], [5.0]),
        'bars': (['conv1', 'conv2'], [3, 2]),
        'steps': ([0.0, 0.5, 1.0], [7, 3]),
        'image': ([0, 2], [[0.0, 1.0], [2.0, 3.0]]),
    }[kind]
    series = [Series(name, *data) for name in (names[:1] if kind == 'image' else names)]
    return Figure('some', 'Some title', kind, 'across', 'up', series, **more)


@pytest.mark.parametrize('log', [False, True])
@pytest.mark.parametrize('kind', KINDS)
def test_every_kind_as_png_and_svg(kind, log, tmp_path):
    before = dict(matplotlib.rcParams)
    drawn = figure(kind, log=log)
    png(drawn, tmp_path / 'new' / 'some.png')
    picture = imread(tmp_path / 'new' / 'some.png')
    assert picture.shape[1] == 780
    assert picture[..., :3].min() < 0.5 < picture[..., :3].max()
    text = svg(drawn)
    ET.fromstring(text)
    assert 'across' in text
    assert ('up' in text) is (kind != 'bars')
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize('kind', [kind for kind in KINDS if kind != 'image'])
def test_colours_are_those_of_the_page(kind):
    """No colour that a dark page could not change."""
    text = svg(figure(kind))
    assert set(re.findall(r'#[0-9a-f]{6}', text)) <= {'#000000'}
    used = set(re.findall(r'var\(--([\w-]+)\)', text)) - {'font'}
    assert used <= set(variables('dark'))
    assert any(name.startswith('series-') for name in used)
    assert variables('dark').keys() == variables('light').keys()


def test_series_differ_in_form_too():
    """Readable without colour: other marks, other dashes."""
    one, two = (svg(figure('lines', names=[name] * n)) for name, n in (('a', 1), ('a', 2)))
    assert 'stroke-dasharray' in two
    assert two.count('<path id="m') > one.count('<path id="m')


def test_names_are_text_and_stay_as_they_are():
    text = svg(figure('lines', names=['_a', '$b$', '<c>&']))
    found = ''.join(ET.fromstring(text).itertext())
    assert ' a' in found
    assert '$b$' in found
    assert '<c>&' in found


def test_many_series_share_one_entry_of_the_legend():
    names = [f'layer{i}' for i in range(MOST_NAMED + 1)]
    assert f'{MOST_NAMED + 1} layers' in svg(figure('lines', names=names))


@pytest.mark.parametrize('log', [False, True])
@pytest.mark.parametrize(
    'values', [[1.0, math.nan, 2.0], [math.nan] * 3, [0.0, 0.0, -1.0], [math.inf] * 3]
)
def test_numbers_of_a_training_that_diverged(values, log, tmp_path):
    drawn = Figure('some', 'Some', 'lines', 'x', 'y', [Series('a', [1, 2, 3], values)], log=log)
    png(drawn, tmp_path / 'some.png')
    ET.fromstring(svg(drawn))


def test_a_front(tmp_path):
    drawn = figure('points', front=Series('the front', [1, 2], [3, 4]))
    assert 'the front' in svg(drawn)
