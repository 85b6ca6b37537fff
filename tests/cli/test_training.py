"""cli/training.py: a config is read once, a model built once, and a basis fitted once."""

from collections import Counter
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmcompress.cli import training
from mmcompress.cli.launch import load_config
from mmcompress.core import CompressionError
from mmcompress.core.base.algorithm import CompressionAlgorithm
from mmcompress.core.base.build import build_model
from mmcompress.core.filters.unit import FilterUnit

BASIS = 'configs/demo/filter_basis_resnet20_digits_finetune.py'
STAGES = 'configs/demo/fcf_resnet20_digits.py'
SMALL = (
    *(f'{part}_dataloader.dataset.indices=32' for part in ('train', 'val', 'test')),
    'train_cfg.max_epochs=1',
)


@pytest.fixture
def happened(monkeypatch):
    """How often a config was read, an algorithm built, and a unit fitted."""
    counts = Counter()

    def count(owner, name, key):
        function = getattr(owner, name)

        def counting(*args, **kwargs):
            counts[key(*args)] += 1
            return function(*args, **kwargs)

        monkeypatch.setattr(owner, name, counting)

    fromfile = Config.fromfile

    def reading(path, *args, **kwargs):
        counts['read', Path(path).name] += 1
        return fromfile(path, *args, **kwargs)

    monkeypatch.setattr(Config, 'fromfile', staticmethod(reading))
    count(CompressionAlgorithm, '__init__', lambda *_: 'built')
    count(training.BuiltModel, '__init__', lambda *_: 'checked')
    for kind in _subclasses(FilterUnit):
        if 'fit' in vars(kind) and kind is not FilterUnit:
            count(kind, 'fit', lambda unit, *_: ('fitted', unit.name))
    return counts


def _subclasses(kind):
    return {kind}.union(*(_subclasses(sub) for sub in kind.__subclasses__()))


@pytest.fixture
def dense(tool, tmp_path):
    """The checkpoint of a dense network of random weights."""
    cfg = load_config(str(tool.ROOT / BASIS), cfg_options={'model.architecture.backbone.depth': 8})
    model = build_model(Config(dict(model=cfg.model.architecture, default_scope='mmpretrain')))
    path = tmp_path / 'dense.pth'
    torch.save(dict(state_dict=model.state_dict()), path)
    return path


def test_a_run_from_a_dense_checkpoint(call, tmp_path, dense, happened):
    options = (*SMALL, 'model.architecture.backbone.depth=8', f'load_from={dense}')
    call('train', BASIS, '--work-dir', tmp_path / 'work', '--cfg-options', *options)
    assert (tmp_path / 'work' / 'epoch_1.pth').is_file()
    fits = {key: value for key, value in happened.items() if key[0] == 'fitted'}
    assert fits
    assert set(fits.values()) == {1}
    assert happened['built'] == happened['checked'] == 1
    assert happened['read', Path(BASIS).name] == 1


def test_stages(call, tmp_path, happened, monkeypatch):
    """Each is read and built once; the export builds the last one again, from its checkpoint."""
    monkeypatch.setattr(training, 'train_stages', lambda *_, **__: None)
    options = (*SMALL, 'dense.model.backbone.depth=8', 'model.architecture.backbone.depth=8')
    call('train', STAGES, '--work-dir', tmp_path / 'work', '--cfg-options', *options)
    reads = {key: value for key, value in happened.items() if key[0] == 'read'}
    assert len(reads) == 4
    assert set(reads.values()) == {1}
    assert (happened['checked'], happened['built']) == (3, 2)


def test_the_check_leaves_the_model_as_it_is(tool, dense):
    cfg = load_config(
        str(tool.ROOT / BASIS),
        cfg_options={'model.architecture.backbone.depth': 8, 'load_from': str(dense)},
    )
    own = training.BuiltModel(cfg).model.state_dict()
    cfg.randomness = dict(seed=3)
    first = training.BuiltModel(cfg).model.state_dict()
    model = training.check(cfg).model
    assert all(torch.equal(value, first[key]) for key, value in model.state_dict().items())
    assert not all(torch.equal(value, first[key]) for key, value in own.items())
    assert all(unit.error is None and unit.fitting for unit in model.mutator.units.values())


def test_a_dense_weight_of_another_shape_is_found_before_the_run(tool, dense, tmp_path):
    content = torch.load(dense)
    name = next(key for key in content['state_dict'] if key.endswith('0.conv1.weight'))
    content['state_dict'][name] = torch.zeros(3, 3, 3, 3)
    torch.save(content, dense)
    cfg = load_config(
        str(tool.ROOT / BASIS),
        cfg_options={'model.architecture.backbone.depth': 8, 'load_from': str(dense)},
    )
    with pytest.raises(CompressionError, match=r'\(3, 3, 3, 3\)'):
        training.check(cfg)


@pytest.mark.parametrize('missing', ['optim_wrapper', 'train_dataloader', 'val_evaluator'])
def test_a_config_that_lacks_a_part_of_a_phase(missing):
    cfg = load_config('configs/demo/dense_resnet20_digits.py', cfg_options={missing: None})
    with pytest.raises(CompressionError, match=f'{missing} is missing'):
        training.check(cfg)


def test_a_config_that_lacks_training_altogether():
    options = dict(train_dataloader=None, train_cfg=None, optim_wrapper=None)
    cfg = load_config('configs/demo/dense_resnet20_digits.py', cfg_options=options)
    with pytest.raises(CompressionError, match='train_dataloader'):
        training.check(cfg)


def test_a_model_may_have_a_list_of_initialisations():
    cfg = load_config('configs/demo/dense_resnet20_digits.py')
    cfg.model.init_cfg = [dict(type='Kaiming', layer='Conv2d')]
    assert training.check(cfg).model.init_cfg[0]['type'] == 'Kaiming'


@pytest.mark.parametrize('key', ['default_hooks', 'custom_imports', 'randomness'])
def test_what_has_to_be_a_dict(key):
    with pytest.raises(CompressionError, match=f'{key} is 5'):
        load_config('configs/demo/dense_resnet20_digits.py', cfg_options={key: 5})


def test_an_unknown_setting_of_randomness():
    cfg = load_config('configs/demo/dense_resnet20_digits.py', cfg_options={'randomness.sed': 1})
    with pytest.raises(CompressionError, match="randomness is .*'sed'"):
        training.check(cfg)


def test_one_stage_alone(call, tmp_path, dense):
    """From a dense network, then from the stage before; nothing is exported."""
    work = tmp_path / 'work'

    def train(stage, *options):
        small = (*SMALL, 'model.architecture.backbone.depth=8', *options)
        call('train', STAGES, '--work-dir', work, '--stage', stage, '--cfg-options', *small)

    with pytest.raises(CompressionError, match=r"--stage finetune .*factorize' has no checkpoint"):
        train('finetune')
    assert not work.exists()
    train('factorize', f'factorize.load_from={dense}')
    train('finetune')
    assert {path.name for path in work.iterdir()} == {'factorize', 'finetune'}
    cfg = Config.fromfile(work / 'finetune' / 'fcf_resnet20_digits_finetune.py')
    assert cfg.load_from == str(work / 'factorize' / 'epoch_1.pth')


@pytest.mark.parametrize(
    ('config', 'said'), [(STAGES, "'dense', 'factorize', 'finetune'"), (BASIS, 'none')]
)
def test_a_stage_that_is_not_there(call, config, said):
    with pytest.raises(CompressionError, match=f"--stage is 'finetun'.* {said}"):
        call('train', config, '--stage', 'finetun')
