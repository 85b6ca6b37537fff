"""report/progress.py: the history of a training, of all its starts, and its picture."""

import json

import numpy as np
import pytest
from matplotlib.image import imread

from mmcompress.core import CompressionError
from mmcompress.report import progress_plot, read_progress, what_was_trained


def row(iteration, **more):
    counts = np.zeros(20, int)
    counts[iteration % 20], counts[16] = 3, 7
    return dict(
        epoch=iteration // 4, iteration=iteration, gap_mean=1 / iteration, rho=0.1 * iteration,
        filters=10, histogram=counts.tolist(), edges=[-0.25, 1.25], **more,
    )  # fmt: skip


def write(folder, rows):
    folder.mkdir(parents=True)
    text = ''.join(json.dumps(r) + '\n' for r in rows)
    (folder / 'progress.jsonl').write_text(text)


def test_one_start(tmp_path):
    rows = [row(i) for i in (4, 8, 12)]
    write(tmp_path / '20260101_000000', rows)
    assert read_progress(tmp_path) == rows


def test_a_resumed_training(tmp_path):
    """Killed after the third pass, resumed after the second."""
    write(tmp_path / '20260101_000000', [row(4), row(8), row(12, first=True)])
    write(tmp_path / '20260101_010000', [row(12), row(16)])
    found = read_progress(tmp_path)
    assert [r['iteration'] for r in found] == [4, 8, 12, 16]
    assert 'first' not in found[2]


def test_a_training_that_was_started_again(tmp_path):
    write(tmp_path / '20260101_000000', [row(4), row(8), row(12)])
    write(tmp_path / '20260102_000000', [row(5), row(10)])
    write(tmp_path / '20260102_000001', [])
    write(tmp_path / '20260103_000000', [row(3)])
    assert read_progress(tmp_path) == [row(3)]


def cut(folder, rows, left):
    """A training that was killed while it wrote the last of ``rows``."""
    write(folder, rows)
    path = folder / 'progress.jsonl'
    path.write_text(path.read_text().rstrip('\n')[: left or None])


@pytest.mark.parametrize('left', [-30, -1, 0])
def test_a_training_that_was_killed_while_writing(tmp_path, left):
    cut(tmp_path / '20260101_000000', [row(4), row(8), row(12)], left)
    assert read_progress(tmp_path) == [row(4), row(8)]
    cut(tmp_path / '20260101_010000', [row(12)], left)
    assert read_progress(tmp_path) == [row(4), row(8)], 'no line of it is whole'
    write(tmp_path / '20260101_020000', [row(12, again=True)])
    assert read_progress(tmp_path) == [row(4), row(8), row(12, again=True)]


@pytest.mark.parametrize('make', ['nothing', 'folder', 'empty', 'half a line'])
def test_no_progress(tmp_path, make):
    folder = tmp_path / 'run'
    if make != 'nothing':
        folder.mkdir()
    if make == 'empty':
        write(folder / '20260101_000000', [])
    if make == 'half a line':
        cut(folder / '20260101_000000', [row(4)], -30)
    with pytest.raises(CompressionError, match=f'work_dir: .*{folder}'):
        read_progress(folder)


def test_stages_have_it_one_folder_further_down(tmp_path):
    write(tmp_path / 'factorize' / '20260101_000000', [row(4)])
    with pytest.raises(CompressionError, match='there is some in .*factorize'):
        read_progress(tmp_path)


@pytest.mark.parametrize('count', [1, 5])
@pytest.mark.parametrize('histogram', [True, False])
def test_picture(tmp_path, count, histogram):
    rows = [row(4 * i) for i in range(1, count + 1)]
    if not histogram:
        rows = [{k: v for k, v in r.items() if k != 'histogram'} for r in rows]
    path = tmp_path / 'new' / 'p.png'
    progress_plot(rows, path, title='run')
    image = imread(path)
    assert image.shape[1] > 500
    assert len(np.unique(image.reshape(-1, image.shape[-1]), axis=0)) > 20


def test_heading(tmp_path):
    """It names what was trained, not a path of the machine."""
    folder = tmp_path / 'mine'
    folder.mkdir()
    assert what_was_trained(folder) == 'mine'
    (folder / 'resnet20.py').write_text("custom_imports = dict(imports=['nowhere'])\n")
    assert what_was_trained(folder) == 'resnet20'
    (folder / 'resnet20.py').write_text("model = dict(type='mmcompress.FCF')\n")
    assert what_was_trained(folder) == 'FCF: resnet20'
