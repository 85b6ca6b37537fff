"""latency/table.py: interpolation, files, and what goes wrong with them."""

import json
import threading

import numpy as np
import pytest

from mmcompress.core import CompressionError
from mmcompress.latency import time_layers
from mmcompress.latency.table import Grid, TimeTable, alone, cached, grid_of, interpolated, key_of

from .test_time_layers import CONV


@pytest.fixture
def asked(monkeypatch):
    """Points that were timed, with made-up times."""
    points = []

    def timed(layer, ins, outs, runtime, threads):
        if layer is not time_layers.REFERENCE:
            points.append((ins, outs))
        return ins * outs + 1.0

    monkeypatch.setattr(time_layers, 'time_point', timed)
    return points


def test_interpolation_is_bilinear():
    """Against the formula, written out for one cell of the grid after another."""
    draw = np.random.default_rng(0)
    xs, ys = [4, 16, 40], [8, 24]
    points = {(x, y): float(draw.uniform(1, 9)) for x in xs for y in ys}
    for x, y in draw.uniform((4, 8), (40, 24), (50, 2)):
        low = max(value for value in xs if value <= x)
        high = xs[min(xs.index(low) + 1, 2)]
        u, v = (x - low) / (high - low), (y - 8) / 16
        expected = (
            points[low, 8] * (1 - u) * (1 - v) + points[high, 8] * u * (1 - v)
            + points[low, 24] * (1 - u) * v + points[high, 24] * u * v
        )  # fmt: skip
        assert interpolated(points, xs, ys, x, y) == pytest.approx(expected, 1e-12)
    for pair, value in points.items():
        assert interpolated(points, xs, ys, *pair) == pytest.approx(value, 1e-12)


def test_nothing_beyond_the_grid_is_made_up():
    points = {(4, 8): 1.0, (8, 8): 2.0}
    assert interpolated(points, [4, 8], [8], 6, 8) == 1.5
    for pair in ((3, 8), (9, 8), (6, 9)):
        with pytest.raises(CompressionError, match='outside of what was timed'):
            interpolated(points, [4, 8], [8], *pair)


def test_a_depthwise_layer_has_one_width():
    points = {(4, 4): 1.0, (8, 8): 3.0}
    assert interpolated(points, [], [4, 8], 6, 6, paired=True) == 2.0


def test_the_grid_of_scattered_points():
    pairs = [(4, 8), (4, 16), (8, 8), (8, 16), (6, 12), (5, 8)]
    assert grid_of(pairs) == ([4, 8], [8, 16])


def test_a_table_times_what_it_lacks_and_keeps_it(asked, tmp_path):
    table = TimeTable('torch', 1, tmp_path / 'table.json')
    steps = []
    grid = Grid(CONV, [4, 8], [8], checks=((6, 8),))
    assert table.measure([grid], lambda: steps.append(1)) == 3
    assert asked == [(4, 8), (8, 8), (6, 8)]
    assert len(steps) == 3
    assert table.time(CONV, 6, 8) == pytest.approx(49)
    assert table.errors([grid]) == [pytest.approx(0)]
    again = TimeTable('torch', 1, tmp_path / 'table.json')
    assert again.measure([grid], lambda: steps.append(1)) == 0
    assert len(asked) == 3
    assert len(steps) == 6
    assert again.time(CONV, 6, 8) == pytest.approx(49)
    assert not list(tmp_path.glob('.*'))


def test_the_table_of_this_machine(asked, monkeypatch, tmp_path):
    monkeypatch.setenv('MMCOMPRESS_CACHE', str(tmp_path / 'cache'))
    table = cached('torch', 2)
    table.measure([Grid(CONV, [4], [8])])
    assert table.path.parent == tmp_path / 'cache'
    assert cached('torch', 2).points == table.points
    assert cached('torch', 1).points == {}
    monkeypatch.delenv('MMCOMPRESS_CACHE')
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'xdg'))
    assert cached('torch', 2).path.parent == tmp_path / 'xdg' / 'mmcompress'


def write(path, **changes):
    """A table of a user's, changed somehow."""
    layer = dict(CONV, points=[[4, 8, 1.0], [8, 8, 2.0], [4, 16, 2.0], [8, 16, 3.0]])
    content = dict(schema=time_layers.SCHEMA, runtime='torch', threads=1, layers=[layer])
    path.write_text(json.dumps({**content, **changes}))
    return path


def test_a_table_of_another_machine_is_not_measured_into(asked, tmp_path):
    table = TimeTable('torch', 1, write(tmp_path / 'phone.json'), given=True)
    table.measure([Grid(CONV, [4, 6, 8], [8])])
    assert not asked
    assert table.time(CONV, 6, 12) == pytest.approx(2.0)
    assert table.at(CONV, (6, 8)) == pytest.approx(1.5)
    with pytest.raises(CompressionError, match=r'phone.json.* 4 to 12 channels are asked for'):
        table.measure([Grid(CONV, [4, 12], [8])])
    with pytest.raises(CompressionError, match=r'not enough times of a conv at 7x8'):
        table.measure([Grid(dict(CONV, size=[7, 8]), [4, 8], [8])])


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(schema='mine'), "has the schema 'mine'; it has to be 'mmcompress-time-table/1'"),
        (dict(runtime='openvino'), "of runtime 'openvino', and the budget of 'torch'"),
        (dict(threads=4), 'of threads 4, and the budget of 1'),
        (dict(layers=[dict(CONV, points=[[4, 8, -1]])]), 'a time of -1 milliseconds'),
        (dict(layers=[dict(CONV, points=[[4, 8, True]])]), 'a time of True'),
        (dict(layers=[dict(CONV, points=[[4, 8]])]), 'is no table of times'),
        (dict(layers=[dict(kind='conv')]), 'is no table of times'),
        (dict(layers=3), 'is no table of times'),
    ],
)
def test_tables_that_are_wrong(changes, message, tmp_path):
    path = write(tmp_path / 'phone.json', **changes)
    with pytest.raises(CompressionError, match=message):
        TimeTable('torch', 1, path, given=True)


@pytest.mark.parametrize('content', ['', '{', '[]', 'null', '"text"'])
def test_files_that_are_no_tables(content, tmp_path):
    path = tmp_path / 'phone.json'
    path.write_text(content)
    with pytest.raises(CompressionError, match=r"'.*phone.json' is no table of times .*; make one"):
        TimeTable('torch', 1, path, given=True)
    with pytest.raises(CompressionError, match=r"'none.json' is no table of times"):
        TimeTable('torch', 1, 'none.json', given=True)


def test_two_processes_do_not_measure_at_once(monkeypatch, tmp_path):
    monkeypatch.setenv('MMCOMPRESS_CACHE', str(tmp_path))
    order = []

    def other():
        with alone():
            order.append('other')

    with alone():
        thread = threading.Thread(target=other)
        thread.start()
        thread.join(0.2)
        order.append('first')
    thread.join()
    assert order == ['first', 'other']


def test_keys_tell_layers_apart():
    assert key_of(CONV) == key_of(dict(CONV, points=[]))
    assert key_of(CONV) != key_of(dict(CONV, stride=[1, 1]))
