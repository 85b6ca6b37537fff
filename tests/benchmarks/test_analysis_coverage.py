"""benchmarks/analysis_coverage.py as a user runs it."""

import json

from ..tool import run_tool, succeed

CONFIGS = 'resnet/resnet[13][84]*_in1k'


def test_records_are_written_and_kept(tmp_path):
    path = tmp_path / 'coverage.json'
    args = ('--lib', 'mmpretrain', '--pattern', CONFIGS, '--json', path)
    text = succeed('analysis_coverage', *args)
    assert 'mmpretrain' in text
    assert '100' in text
    records = {record['config']: record for record in json.loads(path.read_text())}
    assert len(records) == 2
    small = records['mmpretrain::resnet/resnet18_8xb32_in1k.py']
    assert small['backbone'] == 'ResNet-18'
    assert small['reason'] == ''
    assert small['verified'] == small['units'] == 12
    assert small['covered'] == 1
    # What is there is not checked again.
    for record in records.values():
        record['seconds'] = 123.0
    path.write_text(json.dumps(list(records.values())))
    assert '123' in succeed('analysis_coverage', *args, '--quiet')
    assert all(record['seconds'] == 123 for record in json.loads(path.read_text()))


def test_bad_input_is_one_sentence():
    for args, words in (
        (('--lib', 'mmdat'), "--lib: 'mmdat' is none of mmpretrain, mmdet, mmseg, mmpose"),
        (('--lib', 'mmpretrain', '--pattern', 'nosuch'), "--pattern: 'nosuch' matches no"),
    ):
        done = run_tool('analysis_coverage', *args)
        assert done.returncode == 2
        assert words in done.stderr
        assert 'Traceback' not in done.stderr
