"""benchmarks/benchmark_basis.py: ops against the authors' way, from the command line."""

import json
from itertools import product

import pytest
from torch import nn

from mmcompress.core.errors import CompressionError

CONFIG = 'configs/demo/dense_resnet20_digits.py'


def test_every_kind_of_layer_both_methods_and_passes(tool, tmp_path):
    file = tmp_path / 'basis.json'
    out = tool.succeed(
        'benchmark_basis', CONFIG, '--groups', 2, 3, '--ranks', 8, 4, '--batch-size', 2,
        '--shape', 8, '--repeats', 2, '--threads', 1, '--cpu-time', '--json', file,
    )  # fmt: skip
    rows = json.loads(file.read_text())
    layers = ['16-16 8x8/1', '16-32 8x8/2', '32-32 4x4/1', '32-64 4x4/2', '64-64 2x2/1']
    # No layer's channels come in 3 groups.
    ops = [
        (f'filter basis s{channels // 2} b{channels // 2}', f'shared basis S{n // 8} U{n // 16}')
        for channels, n in ((16, 16), (16, 32), (32, 32), (32, 64), (64, 64))
    ]
    expected = [
        (layer, op, label)
        for layer, names in zip(layers, ops, strict=True)
        for op, label in product(names, ('forward', 'forward + backward'))
    ]
    assert [(row['layer'], row['op'], row['pass']) for row in rows] == expected
    assert [row['alike'] for row in rows[::4]] == [6, 1, 5, 1, 5]
    for row in rows:
        assert row['difference'] < 1e-5
        assert row['ours / authors'] > 0
    for word in ('dense_resnet20_digits.py', 'batch of 2, 1 threads', 'worst'):
        assert word in out


@pytest.mark.parametrize(
    ('arguments', 'expected'),
    [
        (['--repeats', '0'], '--repeats is 0; it has to be at least 1'),
        (['--batch-size', '-1'], '--batch-size is -1; it has to be at least 1'),
        (['--groups', '2', '0'], '--groups is 0; it has to be at least 1'),
        (['--ranks', '8', '0'], '--ranks is 0; it has to be at least 1'),
        (['--cpu-time'], '--cpu-time .* give --threads 1, not None'),
    ],
)
def test_bad_arguments(tool, monkeypatch, arguments, expected):
    monkeypatch.setattr('sys.argv', ['benchmark_basis.py', *arguments])
    with pytest.raises(CompressionError, match=expected):
        tool.module('benchmark_basis').parse_args()


def test_nothing_to_time(tool, monkeypatch, tmp_path):
    (tmp_path / 'stem.py').write_text('flops_shape = 8\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr('sys.argv', ['benchmark_basis.py', 'stem.py'])
    benchmark = tool.module('benchmark_basis')
    monkeypatch.setattr(benchmark, 'build_model', lambda _: nn.Conv2d(3, 8, 3))
    with pytest.raises(CompressionError, match='stem.py has no 3x3 convolution but its first'):
        benchmark.measure(benchmark.parse_args())
