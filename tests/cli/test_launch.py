"""cli/launch.py: how configs and method files are named (tests/integration runs the tools)."""

from pathlib import Path

import pytest

from mmcompress.cli import launch
from mmcompress.cli.launch import load_config, method_file, read_config, shipped_configs
from mmcompress.core import CompressionError


@pytest.mark.parametrize(
    ('path', 'message'),
    [
        (
            'mmpretrain::resnet/resnet55_8xb32_in1k.py',
            "mmpretrain has no 'resnet/resnet55_8xb32_in1k.py'; .* 'resnet/resnet50_8xb32_in1k.py'",
        ),
        ('mmpretrain::resnet50_8xb32_in1k.py', "'resnet/resnet50_8xb32_in1k.py'"),
        ('mmdt::a/b.py', "'mmdt::a/b.py'.* 'mmdet'"),
        ('mmdet::', r"config is 'mmdet::'; .* lib::path/of/config.py"),
        ('mmyolo::a.py', r'mmyolo is needed .* `pip install mmyolo`'),
        ('nowhere.py', "there is no file 'nowhere.py'"),
    ],
)
def test_a_config_that_is_not_there(path, message):
    with pytest.raises(CompressionError, match=message):
        read_config(path)


def test_a_config_of_a_library():
    assert read_config('mmpretrain::resnet/resnet50_8xb32_in1k.py').model.backbone.depth == 50


@pytest.fixture
def dense(tmp_path):
    path = tmp_path / 'dense.py'
    path.write_text("model = dict(type='mmengine.TinyNet')\ntrain_cfg = dict(max_epochs=1)\n")
    return str(path)


def test_a_method_file_by_its_name(dense):
    by_name = load_config(dense, 'dcff_r50').model
    assert by_name.type == 'mmcompress.DCFF'
    path = str(shipped_configs() / '_base_' / 'methods' / 'dcff_r50.py')
    assert load_config(dense, path).model == by_name
    assert by_name.architecture == dict(type='mmengine.TinyNet')


@pytest.mark.parametrize(
    ('name', 'near'), [('dcff_r5', 'dcff_r50'), ('filterbasis_r18', 'filter_basis_r18')]
)
def test_a_method_file_that_is_not_there(dense, name, near):
    with pytest.raises(CompressionError, match=f'--compress: .*{name!r}.*{near!r}'):
        load_config(dense, name)


@pytest.mark.parametrize('path', ['mine.py', 'folder/mine', 'mmcompress::_base_/methods/x.py'])
def test_paths_are_no_names(path):
    assert method_file(path) == path


def test_method_files_of_a_wheel(monkeypatch, tmp_path):
    """There, configs lie in the package, and nothing is beside it."""
    folder = tmp_path / 'mmcompress' / '.mim' / 'configs'
    (folder / '_base_' / 'methods').mkdir(parents=True)
    (folder / '_base_' / 'methods' / 'own.py').write_text('')
    monkeypatch.setattr(launch.program, 'PACKAGE', tmp_path / 'mmcompress')
    assert shipped_configs() == folder
    assert method_file('own') == str(folder / '_base_' / 'methods' / 'own.py')


def test_values_make_a_config(dense):
    """One that has been read is changed in place, and not read again."""
    cfg = read_config(dense)
    Path(dense).unlink()
    assert load_config(cfg, cfg_options={'train_cfg.max_epochs': 3}) is cfg
    assert cfg.train_cfg.max_epochs == 3
    assert cfg.default_hooks.compression.type == 'mmcompress.CompressionHook'


def test_a_config_without_a_model(tmp_path):
    path = tmp_path / 'empty.py'
    path.write_text('x = 1\n')
    for config in (str(path), read_config(str(path))):
        with pytest.raises(CompressionError, match=r'empty.py has no `model`'):
            load_config(config)
