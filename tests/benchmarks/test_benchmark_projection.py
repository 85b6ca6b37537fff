"""benchmarks/benchmark_projection.py: two ways of one projection, and how exact each is."""

import json

import pytest
import torch

from mmcompress.core.errors import CompressionError


def test_both_ways_and_their_errors(tool, tmp_path):
    file = tmp_path / 'projection.json'
    out = tool.succeed(
        'benchmark_projection', '--repeats', 2, '--threads', 1, '--spread', 2, '--json', file
    )
    assert '32 rows of 64 to 512, 1 threads' in out
    theirs, ours = json.loads(file.read_text())
    assert theirs['projection'] == 'one OSQP a layer'
    assert theirs['times as fast'] == 1
    # At its default tolerance, against the rounding of float32.
    assert 1e-5 < theirs['largest error'] < 0.2
    assert 0 < ours['largest error'] < 1e-7
    for row in (theirs, ours):
        assert row['median ms'] > 0
        assert row['projection'] in out
    assert ours['times as fast'] > 0


def test_what_errors_are_measured_against(tool):
    exact = tool.module('benchmark_projection').exact
    z = exact(torch.tensor([-1.0, 0.9, 0.4, 2.0]), 2)
    assert z.dtype == torch.float64
    torch.testing.assert_close(z, torch.tensor([0, 0.75, 0.25, 1]).double(), rtol=0, atol=1e-7)
    for k in (0, 1, 2.5, 4):
        assert exact(torch.randn(4), k).sum() == pytest.approx(k, abs=1e-12)


@pytest.mark.parametrize(
    ('arguments', 'expected'),
    [
        (['--rate', '1.5'], '--rate is 1.5; it has to be from 0 to 1'),
        (['--spread', '-1'], '--spread is -1.0; it has to be 0 or more'),
        (['--repeats', '0'], '--repeats is 0; it has to be at least 1'),
        (['--threads', '0'], '--threads is 0; it has to be at least 1'),
    ],
)
def test_bad_arguments(tool, monkeypatch, arguments, expected):
    monkeypatch.setattr('sys.argv', ['benchmark_projection.py', *arguments])
    with pytest.raises(CompressionError, match=expected):
        tool.module('benchmark_projection').parse_args()


def test_without_osqp(tool, tmp_path):
    (tmp_path / 'osqp.py').write_text("raise ModuleNotFoundError('as if it were not there')\n")
    done = tool.run_alone('benchmark_projection', PYTHONPATH=str(tmp_path))
    assert done.returncode == 2, done.stderr[-2000:]
    assert 'Traceback' not in done.stderr
    [error] = [line for line in done.stderr.splitlines() if line.startswith('error: ')]
    assert '`pip install osqp`' in error
