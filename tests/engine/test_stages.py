"""engine/stages.py: configs of several trainings, and where they go on."""

import pytest
import torch

from mmcompress.core import CompressionError
from mmcompress.engine.stages import Stage, progress_of, stages_of


@pytest.fixture
def config(tmp_path):
    for name in ('one.py', 'two.py'):
        (tmp_path / name).write_text('x = 1\n')

    def write(stages):
        path = tmp_path / 'stages.py'
        path.write_text(f'stages = {stages!r}\n')
        return str(path)

    return write


def test_stages(config, tmp_path):
    path = config(
        [dict(name='a', config='one.py'), dict(name='b', config='two.py', cfg_options={'x': 2})]
    )
    assert stages_of(path) == [
        Stage('a', str(tmp_path / 'one.py'), {}),
        Stage('b', str(tmp_path / 'two.py'), {'x': 2}),
    ]


def test_an_ordinary_config(tmp_path):
    (tmp_path / 'c.py').write_text('model = dict()\n')
    assert stages_of(str(tmp_path / 'c.py')) == []


@pytest.mark.parametrize(
    ('stages', 'message'),
    [
        ([], r'stages is \[\]; it has to be a list'),
        (dict(name='a'), 'stages is .*; it has to be a list'),
        ('one.py', "stages is 'one.py'"),
        (['one.py'], r"stages\[0\] is 'one.py'; it has to be a dict"),
        ([dict(name='a')], r'stages\[0\] is .*it has to be a dict of name'),
        ([dict(name='a', config='one.py', options={})], r'stages\[0\] is .*cfg_options'),
        ([dict(name='a', config='one.py'), 3], r'stages\[1\] is 3'),
        ([dict(name=1, config='one.py')], r'stages\[0\] is .*name \(a word'),
        ([dict(name='', config='one.py')], r'stages\[0\] is .*name \(a word'),
        ([dict(name='a/b', config='one.py')], r'stages\[0\] is .*without a slash or dot'),
        ([dict(name='..', config='one.py')], r'stages\[0\] is .*without a slash or dot'),
        ([dict(name='a', config=None)], r'stages\[0\] is .*config \(a path\)'),
        ([dict(name='a', config='one.py', cfg_options=[1])], r'cfg_options \(a dict\)'),
        ([dict(name='a', config='on.py')], r"stages\[0\].config: .*on.py'.*nearest are .*'one.py'"),
        (
            [dict(name='a', config='one.py'), dict(name='a', config='two.py')],
            r"stages\[1\].name: there are two called 'a'",
        ),
    ],
    ids=str,
)
def test_wrong_stages(config, stages, message):
    with pytest.raises(CompressionError, match=message):
        stages_of(config(stages))


def test_options():
    """Its own, then the user's: for all stages, or for one by its name."""
    names = ['dense', 'fine']
    given = {
        'seed': 3, 'dense.train_cfg.max_epochs': 1, 'fine.model.x': 2, 'model.y': 5, 'k': 1,
    }  # fmt: skip
    stage = Stage('fine', 'c.py', {'k': 0, 'own': 7})
    assert stage.options(given, names) == {
        'k': 1, 'own': 7, 'seed': 3, 'model.x': 2, 'model.y': 5,
    }  # fmt: skip
    assert stage.options(None, names) == {'k': 0, 'own': 7}
    assert stage.cfg_options == {'k': 0, 'own': 7}


@pytest.fixture
def folder(tmp_path):
    def write(**meta):
        path = tmp_path / 'epoch_2.pth'
        torch.save(dict(meta=meta, state_dict={}), path)
        (tmp_path / 'last_checkpoint').write_text(str(path))
        return str(path)

    write.path = str(tmp_path)
    return write


@pytest.mark.parametrize(
    ('meta', 'train_cfg', 'finished'),
    [
        (dict(epoch=2, iter=8), dict(by_epoch=True, max_epochs=2), True),
        (dict(epoch=2, iter=8), dict(max_epochs=3), False),
        (dict(epoch=0, iter=8), dict(by_epoch=False, max_iters=8), True),
        (dict(epoch=0, iter=8), dict(by_epoch=False, max_iters=9), False),
        (dict(epoch=0, iter=8), dict(type='IterBasedTrainLoop', max_iters=8), True),
        (dict(epoch=9, iter=8), dict(type='IterBasedTrainLoop', max_iters=9), False),
        (dict(epoch=9, iter=8), dict(type='Other'), False),
        (dict(), dict(max_epochs=1), False),
    ],
    ids=str,
)
def test_whether_a_stage_is_over(folder, meta, train_cfg, finished):
    path = folder(time='20260101_000000', **meta)
    found = progress_of(folder.path, train_cfg)
    assert (found.checkpoint, found.finished) == (path, finished)


def test_nothing_yet(tmp_path):
    assert progress_of(str(tmp_path / 'none'), dict(max_epochs=1)) is None
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'deleted.pth'))
    assert progress_of(str(tmp_path), dict(max_epochs=1)) is None


def test_what_was_made_from_another_checkpoint_does_not_count(folder):
    """A first stage that was trained anew makes those that follow begin anew."""
    folder(epoch=1, time='20260102_120000')
    cfg = dict(max_epochs=1)
    assert progress_of(folder.path, cfg).written == '20260102_120000'
    assert progress_of(folder.path, cfg, since='20260102_120000').finished
    assert progress_of(folder.path, cfg, since='20260102_115959').finished
    assert progress_of(folder.path, cfg, since='20260102_120001') is None
