"""compat/installed_packages.py: packages are found where Python finds them."""

import os

import mmengine
import pytest
from mmengine.utils import get_installed_path as theirs
from mmengine.utils import package_utils

from mmcompress import compat
from mmcompress.compat import installed_packages as remedy

compat.apply()
HERE = os.path.dirname(mmengine.__file__)


def no_pkg_resources(package):
    raise ModuleNotFoundError("No module named 'pkg_resources'")


def test_the_original_is_asked_for_what_importlib_does_not_find(monkeypatch, tmp_path):
    monkeypatch.setattr(remedy, '_original_get_installed_path', lambda package: str(tmp_path))
    assert remedy.get_installed_path('no-such-package') == str(tmp_path)


def test_a_folder_that_is_not_there_is_not_an_answer(monkeypatch):
    monkeypatch.setattr(remedy, '_original_get_installed_path', lambda package: '/no/such/folder')
    assert remedy.get_installed_path('mmengine') == HERE


def test_without_pkg_resources(monkeypatch):
    monkeypatch.setattr(remedy, '_original_is_installed', no_pkg_resources)
    monkeypatch.setattr(remedy, '_original_get_installed_path', no_pkg_resources)
    assert remedy.is_installed('mmengine')
    # A distribution without a module of its name, in any environment that can run this.
    assert remedy.is_installed('scikit-learn')
    assert not remedy.is_installed('no-such-package')
    assert remedy.get_installed_path('mmengine') == HERE
    with pytest.raises(ModuleNotFoundError):
        remedy.get_installed_path('no-such-package')


def test_a_fork_under_another_name(monkeypatch):
    # As if `mmengine` came from a distribution that mmengine does not know.
    monkeypatch.setitem(remedy.MODULE2PACKAGE, 'mmengine', 'original-mmengine')
    assert not remedy._original_is_installed('original-mmengine')
    assert remedy.is_installed('original-mmengine')
    assert remedy.get_installed_path('original-mmengine') == HERE


def test_the_module_of_a_package():
    assert remedy.module_of('mmsegmentation') == 'mmseg'
    assert remedy.module_of('mmpretrain') == 'mmpretrain'
    assert remedy.module_of('mmengine') == 'mmengine'
    assert remedy.module_of('no-such-package') == 'no-such-package'


def test_everybody_asks_the_new_functions():
    from mmengine.config import config
    from mmengine.hub import hub

    ours = remedy.get_installed_path
    assert package_utils.get_installed_path is mmengine.utils.get_installed_path is ours
    assert config.get_installed_path is hub.get_installed_path is ours
    assert package_utils.is_installed is remedy.is_installed
    assert theirs('mmengine') == HERE
