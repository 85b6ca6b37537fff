"""``mmcompress reproduce --smoke``: a recipe of each system from its first to its last stage."""

import json
import re
from pathlib import Path

import pytest

from mmcompress.cli import smokes
from mmcompress.cli.rows import find_row, rows_of
from mmcompress.core import CompressionError

#: The fastest row of each system, and its stages.
ROWS = {
    ('dcff', 'vgg16'): ['train'],
    ('fcf', 'resnet20'): ['dense', 'factorize', 'finetune'],
    ('filter_basis', 'edsr8-128-27'): ['train'],
    ('linear_conv', 'all-conv'): ['train'],
    ('mm', 'resnet50'): ['train'],
    ('shared_basis', 'resnet32-s8u1'): ['train'],
}


@pytest.mark.parametrize('row', ROWS, ids='-'.join)
def test_a_smoke(call, tmp_path, row):
    printed = json.loads(call('reproduce', *row, '--smoke', '--json', '--work-dir', tmp_path))
    assert printed == json.loads((tmp_path / 'result.json').read_text())
    assert [stage['stage'] for stage in printed['estimate']['stages']] == ROWS[row]
    for stage in printed['estimate']['stages']:
        assert stage['measured_steps'] == (2 if row[0] == 'mm' or 'edsr' in row[1] else 4)
        assert stage['steps'] > 10000
        assert stage['hours'] > 0
    metrics = json.loads((tmp_path / 'seed0/test/metrics.json').read_text())
    assert printed['mean'] == pytest.approx(next(iter(metrics.values())))
    assert (tmp_path / 'seed0/export/compact.pth').is_file()
    if row[0] == 'fcf':
        _goes_on(call, tmp_path, row, printed)


def _goes_on(call, work_dir, row, before):
    """A finished run is left alone; one without its end does the end, and comes to the same."""
    files = {path: path.stat().st_mtime_ns for path in work_dir.rglob('*.pth')}
    again = json.loads(call('reproduce', *row, '--smoke', '--json', '--work-dir', work_dir))
    assert again['seeds'] == before['seeds']
    assert {path: path.stat().st_mtime_ns for path in work_dir.rglob('*.pth')} == files
    (work_dir / 'seed0/test/metrics.json').unlink()
    (work_dir / 'seed0/finetune/last_checkpoint').unlink()
    again = json.loads(call('reproduce', *row, '--smoke', '--json', '--work-dir', work_dir))
    assert again['seeds'] == before['seeds']
    written = {
        path.relative_to(work_dir / 'seed0').parts[0]
        for path, time in files.items()
        if path.stat().st_mtime_ns != time
    }
    assert written == {'finetune', 'export'}


def test_failures_are_in_the_table(tmp_path, monkeypatch):
    """One row fails, and the others go on; only what has failed is run again."""

    def reproduce(row, args):
        with open(tmp_path / 'calls', 'a') as file:
            file.write(f'{row.row}\n')
        if row.row == 'resnet20' and not (tmp_path / 'mended').exists():
            raise CompressionError('it is broken\nfor many reasons')
        stage = dict(steps=1000, batch=128, seconds_per_image=0.01)
        return dict(estimate=dict(hours=5.0, memory=2**31, peak=2**30, stages=[stage]))

    monkeypatch.setattr(smokes, 'reproduce', reproduce)
    monkeypatch.setattr(smokes, 'configs_of', lambda *args: None)
    rows = [find_row('fcf', 'resnet20'), find_row('fcf', 'resnet32')]
    found = smokes.smoke_all(rows, str(tmp_path))
    assert [smoke['passed'] for smoke in found] == [False, True]
    broken, fine = smokes.table_rows(found)
    assert (broken['smoke'], broken['memory']) == ('CompressionError: it is broken', '')
    assert (fine['smoke'], fine['steps'], fine['a step']) == ('passed', '1,000', '1.3 s')
    assert (fine['full training'], fine['memory']) == ('5 hours', '2.0 GiB')
    (tmp_path / 'mended').touch()
    assert all(smoke['passed'] for smoke in smokes.smoke_all(rows, str(tmp_path)))
    calls = (tmp_path / 'calls').read_text().split()
    assert calls == ['resnet20', 'resnet32', 'resnet20']


def test_the_table_in_the_docs():
    """It has every row, and every smoke passed."""
    page = Path(__file__).resolve().parents[2] / 'docs' / 'reproduce.md'
    lines = re.findall(r'^\| (\w+) \| (\S+) \| (\w+) \| \d', page.read_text(), re.M)
    found = {(system, name) for system, name, _ in lines}
    assert found == {(row.system, row.row) for row in rows_of()}
    assert {outcome for *_, outcome in lines} == {'passed'}
