"""report/runs.py: what trainings and exports leave in folders."""

import json

import pytest

from mmcompress.core import CompressionError
from mmcompress.report.runs import find_runs, history, less_is_better, main_metric, read_run


def train_row(iteration, epoch, time=0.5, **more):
    return dict(lr=0.1, loss=1 / iteration, time=time, data_time=0.1, epoch=epoch,
                iter=iteration, step=iteration, **more)  # fmt: skip


def val_row(step, **metrics):
    return dict(metrics, time=0.3, data_time=0.1, step=step)


def write(work_dir, rows, start='20260101_000000'):
    file = work_dir / start / 'vis_data' / 'scalars.json'
    file.parent.mkdir(parents=True)
    file.write_text(''.join(json.dumps(row) + '\n' for row in rows))


def export(folder, **subnet):
    folder.mkdir(parents=True)
    (folder / 'compact.pth').write_bytes(b'12345')
    (folder / 'compact.py').write_text('model = dict()')
    (folder / 'fix_subnet.json').write_text(json.dumps(dict(subnet, layers={})))


ROWS = [
    train_row(10, 1, loss_cls=0.7),
    val_row(1, **{'accuracy/top1': 50.0}),
    # A method's progress.
    dict(undecided=0.5, step=20),
    train_row(20, 2, loss_cls=0.6),
    val_row(2, **{'accuracy/top1': 60.0}),
]


def test_the_curves_of_a_training(tmp_path):
    write(tmp_path, ROWS)
    found = history(tmp_path)
    assert found['by_epoch']
    assert found['metrics'] == {'accuracy/top1': dict(x=[1, 2], y=[50.0, 60.0])}
    assert found['losses'] == {
        'loss': dict(x=[10, 20], y=[0.1, 0.05]),
        'loss_cls': dict(x=[10, 20], y=[0.7, 0.6]),
    }
    assert found['seconds'] == pytest.approx(10)  # 20 steps of half a second


def test_a_resumed_training(tmp_path):
    write(tmp_path, ROWS)
    again = [train_row(15, 2, time=1.0), val_row(2, **{'accuracy/top1': 70.0})]
    write(tmp_path, again, '20260102_000000')
    found = history(tmp_path)
    assert found['losses']['loss']['x'] == [10, 15]
    assert found['metrics']['accuracy/top1'] == dict(x=[1, 2], y=[50.0, 70.0])
    assert found['seconds'] == pytest.approx(10 * 0.5 + 5 * 1.0)


def test_a_training_in_iterations(tmp_path):
    rows = [{k: v for k, v in train_row(i, 0).items() if k != 'epoch'} for i in (50, 100)]
    write(tmp_path, [*rows, val_row(100, mIoU=30.0)])
    found = history(tmp_path)
    assert not found['by_epoch']
    assert found['metrics'] == dict(mIoU=dict(x=[100], y=[30.0]))


def test_a_training_that_was_killed_while_writing(tmp_path):
    write(tmp_path, ROWS)
    file = next(tmp_path.glob('*/vis_data/scalars.json'))
    file.write_text(file.read_text()[:-9])
    assert history(tmp_path)['metrics']['accuracy/top1']['x'] == [1]


def test_a_damaged_log(tmp_path):
    write(tmp_path, ROWS)
    file = next(tmp_path.glob('*/vis_data/scalars.json'))
    file.write_text('nonsense\n' + file.read_text())
    with pytest.raises(CompressionError, match='nonsense'):
        find_runs([tmp_path])


def test_a_training_and_its_export_are_one_run(tmp_path):
    write(tmp_path / 'a', ROWS)
    export(tmp_path / 'a' / 'export', method='Some')
    for given in ([tmp_path], [tmp_path / 'a'], [tmp_path / 'a' / 'export', tmp_path / 'a']):
        (run,) = find_runs(given)
        assert (run.folder, run.export) == (tmp_path / 'a', tmp_path / 'a' / 'export')
    read = read_run(run)
    assert (read['name'], read['method'], read['file_bytes']) == ('a', 'Some', 5)


def test_exports_of_other_names(tmp_path):
    write(tmp_path / 'a', ROWS)
    (tmp_path / 'a' / 'net.py').write_text('model = dict()')
    export(tmp_path / 'a' / 'half')
    assert find_runs([tmp_path])[0].export == tmp_path / 'a' / 'half'
    export(tmp_path / 'a' / 'whole')
    both = find_runs([tmp_path / 'a' / 'whole', tmp_path / 'a' / 'half'])
    assert [run.name for run in both] == ['whole', 'half']
    assert [run.export.name for run in both] == ['whole', 'half']
    assert all(run.folder == tmp_path / 'a' for run in both)
    # In the work dir itself.
    for name in ('compact.pth', 'compact.py', 'fix_subnet.json'):
        (tmp_path / 'a' / 'half' / name).rename(tmp_path / 'a' / name)
    (run,) = find_runs([tmp_path])
    assert (run.export, run.config.name) == (tmp_path / 'a', 'net.py')


def test_an_export_alone(tmp_path):
    export(tmp_path / 'moved', method='Some')
    (run,) = find_runs([tmp_path / 'moved'])
    read = read_run(run)
    assert read['export'] == str(tmp_path / 'moved')
    assert read['history'] is None
    assert read['checkpoint'] is None


def test_a_plain_network(tmp_path):
    write(tmp_path, ROWS)
    (tmp_path / 'net.py').write_text('model = dict(type="mmpretrain.ImageClassifier")')
    (tmp_path / 'epoch_2.pth').write_bytes(b'')
    # Of the place where it was trained.
    (tmp_path / 'last_checkpoint').write_text('/elsewhere/epoch_2.pth')
    read = read_run(*find_runs([tmp_path]))
    assert read['method'] == 'dense'
    assert read['checkpoint'] == str(tmp_path / 'epoch_2.pth')
    assert read['file_bytes'] is None


def test_damaged_files(tmp_path):
    export(tmp_path / 'a')
    (tmp_path / 'a' / 'fix_subnet.json').write_text('{')
    with pytest.raises(CompressionError, match='work_dir: .*fix_subnet.json'):
        read_run(*find_runs([tmp_path]))
    write(tmp_path / 'b', ROWS)
    (tmp_path / 'b' / 'net.py').write_text('model = nothing')
    with pytest.raises(CompressionError, match=r'work_dir: .*net.py.*nothing'):
        read_run(*find_runs([tmp_path / 'b']))


def test_stages_and_names(tmp_path):
    for name in ('dense', 'slim/one', 'slim/two'):
        write(tmp_path / name, ROWS)
    write(tmp_path / 'dense' / 'test', [])  # an evaluation is no training
    assert [run.name for run in find_runs([tmp_path])] == ['dense', 'slim/one', 'slim/two']
    assert [run.name for run in find_runs([tmp_path / 'slim'])] == ['one', 'two']
    assert [run.name for run in find_runs([tmp_path / 'dense'])] == ['dense']


@pytest.mark.parametrize('made', [False, True])
def test_nothing_to_report(tmp_path, made):
    folder = tmp_path / 'work'
    if made:
        folder.mkdir()
    with pytest.raises(CompressionError, match='work_dir: .*work'):
        find_runs([folder])


def test_the_metric_to_compare_by():
    def run(*names):
        return dict(history=dict(metrics={name: dict(x=[1], y=[1.0]) for name in names}))

    runs = [run('coco/a', 'coco/b'), run('coco/b'), dict(history=None)]
    assert main_metric(runs) == 'coco/b'
    assert main_metric(runs, 'a') == 'coco/a'
    assert main_metric([dict(history=None)]) is None
    with pytest.raises(CompressionError, match=r"--metric: .*'c'.*coco/a, coco/b"):
        main_metric(runs, 'c')


@pytest.mark.parametrize(
    ('name', 'less'),
    [('NME', True), ('val_loss', True), ('coco/bbox_mAP', False), ('terror', False)],
)
def test_which_metrics_are_errors(name, less):
    assert less_is_better(name) is less
