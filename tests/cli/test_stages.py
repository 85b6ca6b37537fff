"""cli/stages.py: configs of several trainings, and the options of each."""

import copy

import pytest

from mmcompress.cli.launch import load_config
from mmcompress.cli.stages import Stage, options_of, stages_of
from mmcompress.core import CompressionError


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
        ([dict(config='one.py')], r'stages\[0\] is .*it has to be a dict of name'),
        ([dict(name='a')], r"stages\[0\] has no config, and '.*stages.py' no model"),
        ([dict(name='a', config='one.py', options={})], r'stages\[0\] is .*cfg_options'),
        ([dict(name='a', config='one.py'), 3], r'stages\[1\] is 3'),
        ([dict(name=1, config='one.py')], r'stages\[0\] is .*name \(a word'),
        ([dict(name='', config='one.py')], r'stages\[0\] is .*name \(a word'),
        ([dict(name='a/b', config='one.py')], r'stages\[0\] is .*without a slash or dot'),
        ([dict(name='..', config='one.py')], r'stages\[0\] is .*without a slash or dot'),
        ([dict(name='a', config=1)], r'stages\[0\] is .*config \(a path\)'),
        ([dict(name='a', config='one.py', cfg_options=[1])], r'cfg_options \(a dict\)'),
        ([dict(name='a', config='on.py')], r"stages\[0\].config: .*on.py'.*nearest are .*'one.py'"),
        (
            [dict(name='a', config='one.py', cfg_options={'train_cgf.x': 1})],
            r"stages\[0\].cfg_options: .*'train_cgf.x'.*nearest to 'train_cgf' are 'train_cfg'",
        ),
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


def test_stages_in_the_file_of_the_model(tmp_path):
    """A stage without a config changes the file that lists it, as a file changes its base."""
    base = tmp_path / 'base.py'
    base.write_text(
        "model = dict(type='A', architecture=dict(depth=8))\n"
        "param_scheduler = dict(type='MultiStepLR', milestones=[1])\n"
        "optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.1))\n"
        "stages = [dict(name='first'), dict(name='second', cfg_options=dict(\n"
        "    model=dict(stage='finetune'),\n"
        "    param_scheduler=dict(_delete_=True, type='PolyLR'),\n"
        '    optim_wrapper=dict(optimizer=dict(lr=0.01)),\n'
        '))]\n'
    )
    child = tmp_path / 'child.py'
    child.write_text("_base_ = ['base.py']\nmodel = dict(architecture=dict(depth=20))\n")
    stages = stages_of(str(child))
    assert [(stage.name, stage.config) for stage in stages] == [('first', None), ('second', None)]
    for _ in range(2):  # reading takes nothing out of the options
        options = options_of(stages, {'optim_wrapper.optimizer.momentum': 0.5})
        first, second = (
            load_config(copy.deepcopy(s.content), None, options[s.name]) for s in stages
        )
        assert first.model == dict(type='A', architecture=dict(depth=20))
        assert second.model == dict(first.model, stage='finetune')
        assert first.param_scheduler == dict(type='MultiStepLR', milestones=[1])
        assert second.param_scheduler == dict(type='PolyLR')
        assert first.optim_wrapper.optimizer == dict(type='SGD', lr=0.1, momentum=0.5)
        assert second.optim_wrapper.optimizer == dict(type='SGD', lr=0.01, momentum=0.5)
        assert 'stages' not in first
        assert second.filename == str(child)


@pytest.fixture
def stages(tmp_path):
    """One of a dense network, two that compress it; the last has options of its own."""
    for name, model in (('dense', dict(type='A')), ('algorithm', dict(architecture=dict()))):
        (tmp_path / f'{name}.py').write_text(f'model = {model!r}\ntrain_cfg = dict()\nmine = 1\n')
    dense, algorithm = (str(tmp_path / f'{name}.py') for name in ('dense', 'algorithm'))
    return [
        Stage('dense', dense),
        Stage('factorize', algorithm),
        Stage('finetune', algorithm, {'mine': 0, 'train_cfg.x': 7}),
    ]


@pytest.mark.parametrize(
    ('key', 'places'),
    [
        ('finetune.mine', dict(finetune='mine')),
        ('dense.model.depth', dict(dense='model.depth')),
        ('mine', dict(dense='mine', factorize='mine', finetune='mine')),
        # Top-level keys of mmengine's runner, which these configs happen to lack.
        *(
            (key, dict(dense=key, factorize=key, finetune=key))
            for key in ('randomness.seed', 'load_from', 'compile', 'quite_new.key')
        ),
        ('finetune.randomness.seed', dict(finetune='randomness.seed')),
        # Models of another kind have other arguments.
        ('model.rho', dict(factorize='model.rho', finetune='model.rho')),
        ('model', dict(factorize='model', finetune='model')),
    ],
    ids=str,
)
def test_which_stages_an_option_is_for(stages, key, places):
    """Its own options stay, unless the user says otherwise."""
    expected = dict(dense={}, factorize={}, finetune={'mine': 0, 'train_cfg.x': 7})
    assert options_of(stages, None) == expected
    for name, own in places.items():
        expected[name][own] = 5
    assert options_of(stages, {key: 5}) == expected
    assert stages[2].cfg_options == {'mine': 0, 'train_cfg.x': 7}


def test_model_is_that_of_all_stages_where_none_compresses(stages):
    other = Stage('other', stages[0].config)
    found = options_of([stages[0], other], {'model.depth': 8})
    assert found == dict(dense={'model.depth': 8}, other={'model.depth': 8})


@pytest.mark.parametrize(
    ('key', 'message'),
    [
        ('finetun.train_cfg.max_epochs', "nearest to 'finetun' are 'finetune'"),
        ('finetune.trian_cfg.x', "nearest to 'trian_cfg' are 'train_cfg'"),
        ('trian_cfg.x', "nearest to 'trian_cfg' are 'train_cfg'"),
        ('dnse.train_cfg.x', "nearest to 'dnse' are 'dense'"),
        ('ft.train_cfg.x', 'a stage of dense'),
        ('finetune', 'a stage of dense, factorize, finetune and a key'),
    ],
)
def test_options_for_nothing(stages, key, message):
    with pytest.raises(CompressionError, match=f'--cfg-options: {key!r} .*{message}'):
        options_of(stages, {key: 1})
