"""latency/time_layers.py: a program that another machine runs by itself."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mmcompress.core.base.budget import RUNTIMES as IN_BUDGETS
from mmcompress.latency import time_layers
from mmcompress.latency.time_layers import FIXED, RUNTIMES, SCHEMA, Clock, time_point

CONV = dict(
    kind='conv', kernel=[3, 3], stride=[2, 1], padding=[1, 1], dilation=[1, 1], groups=1,
    depthwise=False, size=[9, 8], batch=2, norm=True,
)  # fmt: skip
LINEAR = dict(
    kind='linear', kernel=[], stride=[], padding=[], dilation=[], groups=1, depthwise=False,
    size=[], batch=3, norm=False,
)  # fmt: skip


def test_budgets_know_the_same_runtimes():
    assert set(IN_BUDGETS) == set(RUNTIMES)


@pytest.mark.parametrize('runtime', RUNTIMES)
@pytest.mark.parametrize(
    'layer',
    [CONV, dict(CONV, depthwise=True), dict(CONV, groups=2, norm=False), LINEAR],
    ids=['plain', 'depthwise', 'grouped', 'linear'],
)
def test_every_runtime_times_every_layer(runtime, layer):
    if runtime in ('onnxruntime', 'openvino'):
        pytest.importorskip(runtime, reason=f'{runtime} is not installed')
    assert 0 < time_point(layer, 8, 8, runtime, 1) < 1000


def test_what_is_compiled_does_the_same_as_the_layer():
    layer = dict(CONV, padding=[0, 2], dilation=[1, 2])
    images = torch.from_numpy(time_layers._images(layer, 6))
    weight = torch.randn(time_layers._weight(layer, 6, 10))
    how = (layer['padding'], layer['stride'], layer['dilation'], 1)
    packed = torch.ops.mkldnn._reorder_convolution_weight(weight, *how, list(images.shape))
    found = torch.ops.mkldnn._convolution_pointwise(
        images, packed, torch.zeros(10), *how, 'relu', [], ''
    )
    padding, stride, dilation, groups = how
    expected = torch.conv2d(images, weight, None, stride, padding, dilation, groups).relu()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_a_slower_machine_is_allowed_for(monkeypatch):
    speed = [1.0]

    def timed(layer, ins, outs, runtime, threads):
        return speed[0] * ins * outs

    monkeypatch.setattr(time_layers, 'time_point', timed)
    clock = Clock('torch', 1)
    assert list(clock.times(CONV, [(2, 3)])) == [(2, 3, 6.0)]
    speed[0] = 2.0
    assert list(clock.times(CONV, [(2, 3)])) == [(2, 3, 6.0)]


@pytest.fixture
def shapes(tmp_path: Path) -> Path:
    path = tmp_path / 'shapes.json'
    layers = [dict(CONV, points=[[4, 4], [4, 8]]), dict(LINEAR, points=[[5, 2]])]
    path.write_text(json.dumps(dict(schema=SCHEMA, layers=layers)))
    return path


def run(*args: object) -> subprocess.CompletedProcess:
    """The program without this package: no path but that of the interpreter leads here."""
    return subprocess.run(
        [sys.executable, '-I', str(time_layers.__file__), *map(str, args)],
        capture_output=True,
        text=True,
        env=dict(os.environ, OMP_NUM_THREADS='1'),
        cwd='/',
    )


def test_the_program_makes_a_table(shapes, tmp_path):
    out = tmp_path / 'table.json'
    done = run(shapes, '-o', out, '--runtime', 'torch')
    assert done.returncode == 0, done.stderr
    table = json.loads(out.read_text())
    assert table['schema'] == SCHEMA
    assert (table['runtime'], table['threads'], table['version']) == (
        'torch', 1, torch.__version__
    )  # fmt: skip
    assert table['reference'] > 0
    assert [[point[:2] for point in layer['points']] for layer in table['layers']] == [
        [[4, 4], [4, 8]], [[5, 2]]
    ]  # fmt: skip
    assert all(point[2] > 0 for layer in table['layers'] for point in layer['points'])
    assert all(set(FIXED) < set(layer) for layer in table['layers'])


@pytest.mark.parametrize(
    'content', ['', '[]', '{"layers": []}', '{"schema": "other", "layers": []}']
)
def test_files_that_are_no_shapes(content, tmp_path):
    path = tmp_path / 'shapes.json'
    path.write_text(content)
    done = run(path, '-o', tmp_path / 'table.json')
    assert done.returncode == 2
    assert str(path) in done.stderr
    assert 'Traceback' not in done.stderr
    assert not (tmp_path / 'table.json').exists()


def test_nothing_is_written_over(shapes, tmp_path):
    out = tmp_path / 'table.json'
    out.write_text('mine')
    done = run(shapes, '-o', out)
    assert (done.returncode, out.read_text()) == (2, 'mine')
    assert str(out) in done.stderr


def test_it_needs_nothing_of_ours():
    source = Path(time_layers.__file__).read_text()
    assert 'mmcompress.' not in source.replace('mmcompress-time-table', '').split('"""', 2)[2]
    assert importlib.import_module('numpy')
