"""cli/reproduction.py: rows, seeds, launchers, and what is written about them."""

import argparse
import copy
import json
from dataclasses import replace
from pathlib import Path

import pytest

from mmcompress import cli
from mmcompress.cli import reproduce as verb
from mmcompress.cli import reproduction
from mmcompress.cli.public_data import move_data
from mmcompress.cli.reproduction import (
    configs_of,
    duration,
    reproduce,
    summary,
    table_rows,
    text_of,
)
from mmcompress.cli.rows import find_row
from mmcompress.core import CompressionError

ROW = find_row('filter_basis', 'resnet56')


def arguments(*words):
    return cli.parse(verb, [ROW.system, ROW.row, *map(str, words)])


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / 'data/cifar10/cifar-10-batches-py'
    folder.mkdir(parents=True)
    for name in (*(f'data_batch_{i}' for i in range(1, 6)), 'test_batch'):
        (folder / name).touch()
    return tmp_path / 'data'


@pytest.fixture(scope='module')
def published():
    """The configs of the row, read once."""
    return configs_of(ROW, Path('data'))


@pytest.fixture
def trained(monkeypatch, published):
    """A training that only leaves metrics; lists its command lines."""
    calls = []

    def finish(words):
        calls.append(words)
        folder = Path(words[words.index('--work-dir') + 1])
        seed = int(words[-1].removeprefix('randomness.seed='))
        (folder / 'test').mkdir(parents=True)
        (folder / 'test/metrics.json').write_text(json.dumps({'accuracy/top1': 93.0 + seed}))

    def in_this_process(args):
        assert args.resume == 'auto'
        options = f'randomness.seed={args.cfg_options["randomness.seed"]}'
        finish([args.config, '--work-dir', args.work_dir, options])

    def moved(row, folder):
        configs = copy.deepcopy(published)
        for cfg in configs.values():
            move_data(cfg, folder)
        return configs

    monkeypatch.setattr(reproduction, 'configs_of', moved)
    monkeypatch.setattr(reproduction, 'train', in_this_process)
    monkeypatch.setattr(reproduction, 'get_device', lambda: 'cuda')
    return argparse.Namespace(calls=calls, finish=finish)


def test_seeds(data, trained, tmp_path):
    """Each once: the same command goes on where it stopped."""
    work_dir = tmp_path / 'work'
    words = ('--data', data, '--work-dir', work_dir)
    assert reproduce(ROW, arguments(*words))['seeds'] == {'0': 93.0}
    result = reproduce(ROW, arguments(*words, '--seeds', 0, 1, 2))
    assert [Path(words[2]).name for words in trained.calls] == ['seed0', 'seed1', 'seed2']
    assert result['seeds'] == {'0': 93.0, '1': 94.0, '2': 95.0}
    assert (result['mean'], result['deviation'], result['published']) == (94.0, 1.0, 93.4)
    assert json.loads((work_dir / 'result.json').read_text())['mean'] == 94.0
    header, line, row = (work_dir / 'result.md').read_text().splitlines()
    assert header.startswith('| system | row | metric | published | ours |')
    assert row.endswith('| 93.40 | 94.00 | 1.00 | 93.00 | 94.00 | 95.00 |')


def test_the_recipe_that_is_trained(data, trained, tmp_path):
    """The published one, on the data of the user."""
    reproduce(ROW, arguments('--data', data, '--work-dir', tmp_path / 'work'))
    recipe = reproduction.read_config(trained.calls[0][0])
    assert [stage.name for stage in recipe.stages] == ['train']
    cfg = reproduction.read_config(str(tmp_path / 'work/recipe/train.py'))
    assert cfg.train_cfg.max_epochs == 400
    assert cfg.param_scheduler.milestones == [250, 325]
    assert cfg.train_dataloader.dataset.data_root == f'{data}/cifar10'
    assert cfg.train_dataloader.batch_size == cfg.auto_scale_lr.base_batch_size == 64


def test_gpus(data, trained, tmp_path, monkeypatch):
    """They share the batch, and are started by the libraries' script."""

    def run(command, env, check):
        trained.finish(command)
        return argparse.Namespace(returncode=0)

    monkeypatch.setattr(reproduction.subprocess, 'run', run)
    monkeypatch.setattr(reproduction.torch.cuda, 'device_count', lambda: 8)
    words = ('--data', data, '--work-dir', tmp_path / 'work', '--gpus', 4)
    reproduce(ROW, arguments(*words))
    (command,) = trained.calls
    assert command[0] == 'sh'
    assert Path(command[1]).is_file()
    assert Path(command[1]).name == 'dist_train.sh'
    assert command[3] == '4'
    assert '--resume' in command
    cfg = reproduction.read_config(str(tmp_path / 'work/recipe/train.py'))
    assert cfg.train_dataloader.batch_size == 16
    with pytest.raises(CompressionError, match=r'--gpus is 3; .*64 images'):
        reproduce(ROW, arguments('--data', data, '--work-dir', tmp_path / 'other', '--gpus', 3))
    with pytest.raises(CompressionError, match=r'--gpus is 16; this machine has 8'):
        reproduce(ROW, arguments('--data', data, '--work-dir', tmp_path / 'other', '--gpus', 16))
    with pytest.raises(CompressionError, match=r'another run, whose gpus is 4'):
        reproduce(ROW, arguments('--data', data, '--work-dir', tmp_path / 'work'))


def test_slurm(data, trained, tmp_path, monkeypatch):
    def run(command, env, check):
        seen.append((command, env['GPUS']))
        return argparse.Namespace(returncode=1)

    seen = []
    monkeypatch.setattr(reproduction.subprocess, 'run', run)
    words = ('--data', data, '--work-dir', tmp_path / 'work', '--gpus', 8, '--slurm', 'part')
    with pytest.raises(CompressionError, match=r'slurm_train\.sh ended with status 1; .*goes on'):
        reproduce(ROW, arguments(*words))
    ((command, gpus),) = seen
    assert (Path(command[1]).name, command[2], gpus) == ('slurm_train.sh', 'part', '8')
    assert command[5] == str(tmp_path / 'work/seed0')


def test_a_cpu(data, trained, tmp_path, monkeypatch, capsys):
    """It is said how long that takes, by a smoke: twice as long with two seeds."""

    def smoke(row, args):
        assert (args.smoke, args.seeds) == (True, [0])
        assert args.work_dir == str(tmp_path / 'work/smoke')
        return dict(estimate=dict(hours=60.0))

    monkeypatch.setattr(reproduction, 'get_device', lambda: 'cpu')
    monkeypatch.setattr(reproduction, 'reproduce', smoke)
    words = ('--data', data, '--work-dir', tmp_path / 'work', '--seeds', 0, 1)
    reproduce(ROW, arguments(*words))
    assert 'no GPU' in (said := capsys.readouterr().err)
    assert 'about 5 days' in said
    assert len(trained.calls) == 2


@pytest.mark.parametrize(
    ('words', 'said'),
    [
        (['filter_base', 'resnet56', '--smoke'], r"SYSTEM is 'filter_base'; .*'filter_basis'"),
        (['filter_basis', 'resnet65', '--smoke'], r"ROW is 'resnet65'; .*'resnet56'"),
        (['filter_basis'], r'SYSTEM and ROW are missing'),
        (['filter_basis', 'resnet56'], r'--data is missing'),
        (['filter_basis', 'resnet56', '--data', 'nowhere'], r'cifar10 is not complete: .*https'),
        (['filter_basis', 'resnet56', '--gpus', '0'], r'--gpus is 0'),
        (['filter_basis', 'resnet56', '--seeds', '-1'], r'--seeds has -1'),
        (['--smoke-all', 'filter_basis', 'resnet56'], r"leave out 'resnet56'"),
    ],
    ids=str,
)
def test_bad_input(words, said, tmp_path):
    """Nothing is written."""
    args = cli.parse(verb, ['--work-dir', str(tmp_path / 'work'), *words])
    with pytest.raises(CompressionError, match=said):
        verb.main(args)
    assert not (tmp_path / 'work').exists()


def test_the_work_dir_of_another_row(data, trained, tmp_path):
    words = ('--data', data, '--work-dir', tmp_path)
    reproduce(ROW, arguments(*words))
    other = find_row('filter_basis', 'vgg16')
    with pytest.raises(CompressionError, match=r"whose row is 'resnet56' and not 'vgg16'"):
        reproduce(other, arguments(*words))


@pytest.mark.parametrize('key', ['coco/bbox_mAP', 'coco/AP'])
def test_fractions_become_percent(key):
    result = summary(find_row('mm', 'faster-rcnn'), {0: {'other': 1.0, key: 0.35}})
    assert (result['mean'], result['difference']) == (35.0, pytest.approx(-0.8))
    (shown,) = table_rows([result])
    assert (shown['published'], shown['ours'], shown['deviation']) == ('35.80', '35.00', '')


def test_a_detector_that_finds_nothing():
    result = summary(find_row('mm', 'faster-rcnn'), {0: {}, 1: {}})
    assert result['seeds'] == {'0': None, '1': None}
    assert result['mean'] is result['deviation'] is result['difference'] is None
    assert table_rows([result])[0]['ours'] == ''


def test_tables():
    rows = [dict(a='1', bb='x'), dict(a='222', bb='')]
    assert text_of(rows, False) == 'a    bb\n1    x\n222\n'
    assert text_of(rows, True).splitlines()[1:3] == ['| --- | --- |', '| 1 | x |']
    assert text_of([], True) == ''


@pytest.mark.parametrize(
    ('hours', 'text'), [(0.5, '30 minutes'), (71, '71 hours'), (240, '10 days')]
)
def test_durations(hours, text):
    assert duration(hours) == text


def test_the_list(capsys):
    verb.main(cli.parse(verb, ['filter_basis', '--list', '--json']))
    listed = json.loads(capsys.readouterr().out)
    assert dict(listed[1], config='') == dict(
        system='filter_basis',
        row='resnet56',
        network='ResNet-56, CIFAR-10',
        accuracy='93.4',
        config='',
    )


def test_stages_of_rows():
    """Dense rows train the dense network, by a stage of their own or by the recipe's schedule."""
    row = replace(find_row('dcff', 'vgg16-dense'), options={'model.head.num_classes': 5})
    (cfg,) = configs_of(row, Path('data')).values()
    assert (cfg.model.type, cfg.model.head.num_classes) == ('ImageClassifier', 5)
    configs = configs_of(find_row('fcf', 'resnet20-dense'), Path('data'))
    assert list(configs) == ['dense']
    assert configs['dense'].train_cfg.max_epochs == 200


@pytest.mark.parametrize(
    ('row', 'stages'),
    [
        (('filter_basis', 'resnet18-basis'), ['dense', 'train']),
        (('dcff', 'mobilenetv2-in1k'), ['train']),
        (('linear_conv', 'base-mnist'), ['train']),
    ],
    ids=lambda value: value[-1],
)
def test_rows_that_a_method_file_makes(row, stages):
    """A method that can't start from scratch is given a dense network."""
    configs = configs_of(find_row(*row), Path('x'))
    assert list(configs) == stages
    assert 'architecture' in configs['train'].model
    assert stages == ['train'] or 'architecture' not in configs['dense'].model
    assert configs['train'].train_dataloader.dataset.data_root.startswith('x/')
