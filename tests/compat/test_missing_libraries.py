"""compat/missing_libraries.py: a missing library is named, never installed."""

import subprocess

import pytest

from mmcompress import compat
from mmcompress.compat import missing_libraries as remedy

compat.apply()

from mmengine.config import Config  # noqa: E402
from mmengine.hub import get_config, get_model  # noqa: E402

# In mmengine's list, and in no environment of ours.
ABSENT = 'mmfewshot::detection/some_config.py'
SENTENCE = "mmfewshot is needed for 'mmfewshot::...': install it with `pip install mmfewshot`"


@pytest.fixture(autouse=True)
def no_processes(monkeypatch):
    def refuse(*args, **kwargs):
        pytest.fail(f'a process was started: {args}')

    monkeypatch.setattr(subprocess, 'Popen', refuse)


@pytest.mark.parametrize('ask', [get_config, get_model])
def test_the_hub_installs_nothing(ask):
    with pytest.raises(ModuleNotFoundError) as error:
        ask(ABSENT)
    assert str(error.value) == SENTENCE


def test_a_base_config_says_the_same(tmp_path):
    file = tmp_path / 'config.py'
    file.write_text(f'_base_ = {ABSENT!r}\n')
    with pytest.raises(ModuleNotFoundError) as error:
        Config.fromfile(file)
    assert str(error.value) == SENTENCE


@pytest.mark.parametrize(
    ('package', 'module', 'command'),
    [
        ('mmpretrain', 'mmpretrain', '`pip install mmpretrain` or `pip install "mmcompress[cls]"`'),
        ('mmdet', 'mmdet', '`pip install mmdet` or `pip install "mmcompress[det]"`'),
        ('mmsegmentation', 'mmseg', '`pip install mmsegmentation` or `pip install "mmcomp'),
        ('mmpose', 'mmpose', '"mmcompress[pose]"` and `pip install --no-deps mmpose`'),
    ],
)
def test_what_to_install_is_named(monkeypatch, package, module, command):
    monkeypatch.setattr(remedy, 'is_installed', lambda name: False)
    with pytest.raises(ModuleNotFoundError) as error:
        remedy.require(package)
    assert str(error.value).startswith(f"{module} is needed for '{module}::...'")
    assert command in str(error.value)


def test_what_is_there_is_let_through():
    assert remedy.require('mmengine') is True
