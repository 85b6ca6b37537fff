"""compat/own_configs.py: `mmcompress::` is understood in configs."""

import shutil
from pathlib import Path

import pytest
from mmengine.config.utils import MODULE2PACKAGE

from mmcompress import compat
from mmcompress.compat import own_configs as remedy

compat.apply()

from mmengine.config import Config, config  # noqa: E402
from mmengine.hub import get_config, hub  # noqa: E402

INDEX = Path(__file__).resolve().parents[2] / 'model-index.yml'
CONFIGS = INDEX.parent / 'configs'


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """An installed mmcompress with one config, our index and metafiles."""
    configs = tmp_path / 'mmcompress' / '.mim' / 'configs'
    (configs / '_base_' / 'methods').mkdir(parents=True)
    (configs / '_base_' / 'methods' / 'probe.py').write_text('compression = dict(ratio=0.5)\n')
    shutil.copy(INDEX, configs.parent)
    for file in CONFIGS.rglob('metafile.yml'):
        place = configs / file.relative_to(CONFIGS)
        place.parent.mkdir(parents=True)
        shutil.copy(file, place)
    for module in (config, hub):
        monkeypatch.setattr(module, 'get_installed_path', lambda name: str(tmp_path / name))
        name = 'is_installed' if module is config else 'install_package'
        monkeypatch.setattr(module, name, lambda package: True)
    return configs


def test_a_config_without_metafile_is_a_base(installed, tmp_path):
    file = tmp_path / 'config.py'
    file.write_text(
        "_base_ = ['mmcompress::_base_/methods/probe.py']\nratio = _base_.compression.ratio\n"
    )
    assert Config.fromfile(file).ratio == 0.5


def test_the_hub_finds_it(installed):
    assert get_config('mmcompress::_base_/methods/probe.py').compression.ratio == 0.5


def test_a_recipe_that_a_metafile_names_is_found(installed):
    """By its path below configs/, as any other."""
    name = 'pruning/mmcls/dcff/dcff_vgg16_300e_cifar10.py'
    (installed / name).write_text("x = 'recipe'\n")
    assert get_config(f'mmcompress::{name}').x == 'recipe'


def test_a_path_that_does_not_exist_is_an_error(installed):
    with pytest.raises(FileNotFoundError, match=r'other\.py'):
        get_config('mmcompress::_base_/methods/other.py')


def test_an_mmengine_that_knows_us_is_left_alone(monkeypatch):
    monkeypatch.setitem(MODULE2PACKAGE, 'mmcompress', 'something-else')
    remedy.apply()
    assert MODULE2PACKAGE['mmcompress'] == 'something-else'
