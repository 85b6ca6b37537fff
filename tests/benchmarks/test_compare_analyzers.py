"""benchmarks/compare_analyzers.py on one config."""

import json


def test_three_analyzers_side_by_side(tool, tmp_path):
    file = tmp_path / 'analyzers.json'
    out = tool.succeed(
        'compare_analyzers',
        *('--lib', 'mmpretrain', '--pattern', 'mmpretrain::resnet/resnet18_8xb32_in1k.py'),
        *('--json', file),
    )
    records = json.loads(file.read_text())
    assert [r['analyzer'] for r in records] == ['mmcompress', 'FxTracer', 'BackwardTracer']
    ours, *theirs = records
    assert (ours['reason'], ours['half'], ours['covered']) == ('', 'runs', 1)
    for record in records:
        assert record['config'] == 'mmpretrain::resnet/resnet18_8xb32_in1k.py'
        assert record['reason'] or record['seconds'] > 0 < record['units']
    # A plain ResNet is what MMRazor was written for: all agree on its units.
    assert [r['units'] for r in theirs] == [ours['units']] * 2
    assert '1 models in 1 configs' in out
