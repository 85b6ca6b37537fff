"""tools/benchmark.py from the command line."""

from __future__ import annotations

import json
from types import ModuleType

import pytest

SMALL = ('--cfg-options', 'model.architecture.backbone.depth=8')


def test_json_of_models_and_layers(tool: ModuleType) -> None:
    text = tool.succeed(
        'benchmark', tool.DEMO, '--batch-sizes', 1, 2, '--fold-bn', '--layers', '--repeats', 1,
        '--json', *SMALL,
    )  # fmt: skip
    found = json.loads(text)
    settings = [(row['runtime'], row['batch_size'], row['model']) for row in found['models']]
    assert settings == [
        (runtime, batch, model)
        for runtime in ('eager', 'folded')
        for batch in (1, 2)
        for model in ('compact', 'squeeze-expand')
    ]
    for row in found['models']:
        assert row['quotient'] == pytest.approx(row['time_down'] / row['flops_down'])
        assert row['flops_down'] == pytest.approx(
            100 * (1 - found['macs']['compact'] / found['macs']['dense'])
        )
    assert {row['batch_size'] for row in found['layers']} == {1, 2}


def test_tables(tool: ModuleType) -> None:
    text = tool.succeed('benchmark', tool.DEMO, '--layers', '--repeats', 1, *SMALL)
    for column in ('model FLOPs down %', 'conv time down %', 'expand %', 'squeeze-conv-expand'):
        assert column in text


@pytest.mark.parametrize(
    ('arguments', 'says'),
    [
        (['{demo}', '--batch-sizes', '1', '0'], '--batch-sizes is 0; give 1 or more'),
        (['configs/demo/dense_resnet20_digits.py'], 'makes no compact model; give a compression'),
    ],
    ids=['batch', 'dense'],
)
def test_errors(tool: ModuleType, arguments: list[str], says: str) -> None:
    done = tool.run_tool('benchmark', *(a.format(demo=tool.DEMO) for a in arguments))
    assert done.returncode == 2
    assert says in done.stderr.splitlines()[-1]
    assert not done.stdout
