"""``mmcompress report``: a page over real trainings and an export."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image

from mmcompress.core.errors import CompressionError
from mmcompress.report.runs import history

DENSE = 'configs/demo/dense_resnet20_digits.py'


@pytest.fixture(scope='module')
def work(tool: ModuleType, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a dense and a compact training; the latter is exported, with an ONNX file."""
    folder = tmp_path_factory.mktemp('work')
    shutil.copytree(trained, folder / '<b>&slim')
    tool.succeed(
        'export', tool.DEMO, folder / '<b>&slim' / 'epoch_3.pth', '--onnx',
        '--cfg-options', *tool.SMALL,
    )  # fmt: skip
    small = [option.replace('.architecture', '') for option in tool.SMALL]
    tool.succeed(
        'train', DENSE, '--work-dir', folder / 'dense', '--cfg-options', *small,
        'train_cfg.max_epochs=1',
    )  # fmt: skip
    return folder


@pytest.fixture(scope='module')
def made(tool: ModuleType, work: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report over that folder."""
    out = tmp_path_factory.mktemp('out') / 'report'
    shown = tool.succeed('report', work, '-o', out, '--repeats', 3, '--samples', 2)
    assert str(out / 'report.html') in shown
    return out


def test_a_row_for_each_run(made: Path, work: Path) -> None:
    report = json.loads((made / 'report.json').read_text())
    assert report['metric'] == 'accuracy/top1'
    dense, slim = report['runs']
    assert (dense['name'], dense['method'], slim['name']) == ('dense', 'dense', '<b>&slim')
    assert slim['dense'] == dict(params=dense['params'], macs=dense['macs'])
    assert slim['params'] < dense['params']
    assert slim['macs'] < dense['macs']
    assert slim['file_bytes'] == (work / '<b>&slim' / 'export' / 'compact.pth').stat().st_size
    # Weights and what torch writes around them.
    assert 4 * dense['params'] < dense['file_bytes'] < 8 * dense['params'] + 50_000
    trained = history(work / '<b>&slim')
    assert slim['history'] == trained
    assert slim['metric']['value'] == trained['metrics']['accuracy/top1']['y'][-1]
    assert slim['metric']['images'] == 50
    low, high = slim['metric']['interval']
    assert low <= slim['metric']['value'] <= high
    assert set(slim['latency']) >= {'torch', 'onnxruntime'}
    assert 'ratio' in slim['latency']['torch']
    assert 'ratio' not in dense['latency']['torch']


def test_layers_and_figures(made: Path) -> None:
    report = json.loads((made / 'report.json').read_text())
    slim = report['runs'][1]
    names = {figure['name'] for figure in slim['figures']}
    assert names >= {'layers-widths', 'layers-macs', 'layers-times', 'sharpness', 'importance'}
    assert 'progress-temperature' in names
    assert {figure['name'] for figure in report['figures']} >= {'loss', 'metric', 'metric-macs'}
    assert sum(row['macs'][1] for row in slim['layers']) <= slim['macs']
    assert all(row['ms'][0] > 0 for row in slim['layers'])
    for figure in [*slim['figures'], *report['figures']]:
        assert Image.open(made / figure['png']).format == 'PNG'


def test_predictions(made: Path) -> None:
    report = json.loads((made / 'report.json').read_text())
    dense, slim = report['runs']
    assert 'samples' not in dense
    assert [sample['index'] for sample in slim['samples']] == [12, 37]
    for sample in slim['samples']:
        assert [p['name'] for p in sample['panels']] == ['ground truth', 'dense', 'compact']
        assert re.fullmatch(r'\w+ \(\d+ %\)', sample['panels'][2]['text'])
        assert all(Image.open(made / panel['png']).width >= 192 for panel in sample['panels'])


def test_the_page_shows_all_of_it(made: Path) -> None:
    text = (made / 'report.html').read_text()
    report = json.loads((made / 'report.json').read_text())
    figures = [*report['figures'], *(f for run in report['runs'] for f in run['figures'])]
    assert text.count('<svg ') == len(figures)
    assert text.count('data:image/png;base64') >= 6
    assert '<b>' not in text
    assert '&lt;b&gt;&amp;slim' in text


def test_an_export_that_was_moved(tool: ModuleType, work: Path, tmp_path: Path) -> None:
    """Without its training: no metric, and the dense network only as a yardstick."""
    shutil.copytree(work / '<b>&slim' / 'export', tmp_path / 'moved')
    words = ('report', tmp_path / 'moved', '-o', tmp_path / 'out', '--repeats', 2, '--samples', 1)
    report = json.loads(tool.succeed(*words, '--json'))
    dense, moved = report['runs']
    assert (dense['method'], dense['history'], moved['history']) == ('dense', None, None)
    assert report['metric'] is None
    assert moved['macs'] < dense['macs']
    assert [p['name'] for p in moved['samples'][0]['panels']] == ['ground truth', 'compact']
    # Made anew, with pictures of this report alone.
    (tmp_path / 'out' / 'figures' / 'old.png').write_bytes(b'')
    tool.succeed(*words[:-1], 0)
    assert not (tmp_path / 'out' / 'figures' / 'old.png').exists()


def test_an_export_that_was_trained_on(tool: ModuleType, work: Path, tmp_path: Path) -> None:
    """It is no dense network."""
    exported = work / '<b>&slim' / 'export'
    tool.succeed(
        'train', exported / 'compact.py', '--work-dir', tmp_path / 'more',
        '--cfg-options', 'train_cfg.max_epochs=1', 'train_dataloader.dataset.indices=128',
        'val_dataloader.dataset.indices=50', f'load_from={exported / "compact.pth"}',
    )  # fmt: skip
    words = ('report', tmp_path / 'more', '-o', tmp_path / 'out', '--repeats', 2, '--json')
    dense, more = json.loads(tool.succeed(*words))['runs']
    assert (dense['method'], dense['history']) == ('dense', None)
    assert more['method'] != 'dense'
    assert more['macs'] < dense['macs'] == more['dense']['macs']
    assert [p['name'] for p in more['samples'][0]['panels']] == ['ground truth', 'compact']


@pytest.mark.parametrize(
    ('words', 'key'),
    [
        (['nowhere'], 'work_dir: '),
        (['{work}', '--metric', 'bleu'], '--metric: '),
        (['{work}', '--repeats', '0'], '--repeats'),
        (['{work}', '--samples', '-1'], '--samples'),
    ],
)
def test_bad_input(tool: ModuleType, work: Path, tmp_path: Path, words: list, key: str) -> None:
    given = [word.format(work=work) for word in words]
    done = tool.run_tool('report', *given, '-o', tmp_path / 'out')
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(f'error: {key}')
    assert not (tmp_path / 'out').exists()


def test_a_run_that_cannot_be_built(call, work: Path, tmp_path: Path) -> None:
    """It has a note; the others are there."""
    shutil.copytree(work / 'dense', tmp_path / 'runs' / 'one')
    shutil.copytree(work / 'dense', tmp_path / 'runs' / 'other')
    (tmp_path / 'runs' / 'one' / 'epoch_1.pth').write_bytes(b'nonsense')
    out = call('report', tmp_path / 'runs', '-o', tmp_path / 'out', '--repeats', 2, '--json')
    one, other = json.loads(out)['runs']
    assert one['notes'][0].startswith('Its network could not be built: checkpoint: ')
    assert 'macs' not in one
    assert one['metric']['value'] == other['metric']['value']
    assert other['macs'] > 0


def test_a_training_that_diverged(call, work: Path, tmp_path: Path) -> None:
    """JSON has no NaN."""
    shutil.copytree(work / 'dense', tmp_path / 'run')
    log = next((tmp_path / 'run').glob('*/vis_data/scalars.json'))
    log.write_text(re.sub(r'"loss": [^,}]*', '"loss": NaN', log.read_text()))
    words = (tmp_path / 'run', '-o', tmp_path / 'out', '--repeats', 2)
    call('report', *words)
    text = (tmp_path / 'out' / 'report.json').read_text()
    report = json.loads(text, parse_constant=pytest.fail)
    assert set(report['runs'][0]['history']['losses']['loss']['y']) == {None}


def test_an_image_that_the_network_cannot_take(call, work: Path, tmp_path: Path) -> None:
    words = (work / 'dense', '-o', tmp_path / 'out', '--shape', 4, 8, 8, '--repeats', 2, '--json')
    (run,) = json.loads(call('report', *words))['runs']
    assert '--shape' in run['notes'][0]
    assert 'macs' not in run


def test_nothing_is_written_where_a_log_is_damaged(call, work: Path, tmp_path: Path) -> None:
    shutil.copytree(work / 'dense', tmp_path / 'run')
    next((tmp_path / 'run').glob('*/vis_data/scalars.json')).write_text('{"iter": 1\n')
    with pytest.raises(CompressionError, match='scalars.json'):
        call('report', tmp_path / 'run', '-o', tmp_path / 'out')
    assert not (tmp_path / 'out').exists()
