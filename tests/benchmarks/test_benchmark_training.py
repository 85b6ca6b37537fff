"""benchmarks/benchmark_training.py: dense against compact, from the command line."""

import json

import pytest

from mmcompress.core.errors import CompressionError

BASIS = 'configs/demo/filter_basis_resnet20_digits_finetune.py'


def test_a_row_for_each_config(tool, tmp_path):
    file = tmp_path / 'training.json'
    # Filter basis starts from a dense network, of which the tool makes one.
    out = tool.succeed(
        'benchmark_training', tool.DEMO, BASIS, '--batch-size', 4, '--shape', 16,
        '--repeats', 2, '--threads', 1, '--cpu-time', '--json', file,
    )  # fmt: skip
    rows = json.loads(file.read_text())
    names = ['dcff_resnet20_digits', 'filter_basis_resnet20_digits_finetune']
    assert [row['model'] for row in rows] == names
    for row in rows:
        assert row['train_ms'] > row['eval_ms'] > 0
        for ratio in ('train_ratio', 'train_mean_ratio', 'eval_ratio'):
            assert row[ratio] > 0
    for word in (*names, 'batch of 4, 1 threads, 2 rounds', 'mean ratio'):
        assert word in out


@pytest.mark.parametrize(
    ('arguments', 'expected'),
    [
        (['--repeats', '0'], '--repeats is 0; it has to be at least 1'),
        (['--batch-size', '-1'], '--batch-size is -1; it has to be at least 1'),
        (['--cpu-time'], '--cpu-time .* give --threads 1, not None'),
        (['--threads', '0'], '--threads is 0; it has to be at least 1'),
    ],
)
def test_bad_arguments(tool, monkeypatch, arguments, expected):
    monkeypatch.setattr('sys.argv', ['benchmark_training.py', 'x.py', *arguments])
    with pytest.raises(CompressionError, match=expected):
        tool.module('benchmark_training').parse_args()


def test_a_dense_config(tool, monkeypatch):
    config = 'configs/demo/dense_resnet20_digits.py'
    monkeypatch.setattr('sys.argv', ['benchmark_training.py', config])
    benchmark = tool.module('benchmark_training')
    with pytest.raises(CompressionError, match='ImageClassifier, not a compression algorithm'):
        benchmark.measure(config, benchmark.parse_args())
