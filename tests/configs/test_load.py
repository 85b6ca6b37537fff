"""configs/: every file is read, and inherits nothing that it could do without."""

import ast
import shutil
from pathlib import Path

import pytest

import mmcompress  # noqa: F401

# isort: split
from mmengine.config import Config

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
FILES = [str(file.relative_to(CONFIGS)) for file in sorted(CONFIGS.rglob('*.py'))]


def bases(file):
    """What a file lists as its ``_base_``."""
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], 'id', '') == '_base_':
            named = ast.literal_eval(node.value)
            return [named] if isinstance(named, str) else named
    return []


def inherits_from(file, libraries=('mmdet::', 'mmseg::', 'mmpose::')):
    """Whether a config is built upon one of a library that the small environment lacks."""
    return any(
        base.startswith(libraries) if '::' in base else inherits_from(file.parent / base)
        for base in bases(file)
    )


def params(names):
    return [
        pytest.param(name, marks=[pytest.mark.full] if inherits_from(CONFIGS / name) else [])
        for name in names
    ]


@pytest.fixture(scope='module')
def copied(tmp_path_factory):
    """A copy of configs/ whose files may be changed."""
    return shutil.copytree(CONFIGS, tmp_path_factory.mktemp('copy') / 'configs')


@pytest.mark.parametrize('name', params(FILES))
def test_a_config_is_read(name):
    cfg = Config.fromfile(CONFIGS / name)
    folder = Path(name).parts[0]
    if folder == '_base_' or 'model' not in cfg:
        assert folder == '_base_' or cfg.stages
        return
    # Whatever runs it imports us, and has our hooks.
    assert 'mmcompress' in cfg.custom_imports.imports
    assert cfg.default_hooks.compression == dict(type='mmcompress.CompressionHook')
    assert cfg.default_hooks.reseed == dict(type='mmcompress.ReseedHook')


@pytest.mark.parametrize('name', params(name for name in FILES if len(bases(CONFIGS / name)) > 1))
def test_every_base_is_needed(copied, name):
    """Without it the file can't be read, or says something else."""
    file = copied / name
    text, whole = file.read_text(), Config.fromfile(file).to_dict()
    try:
        for base in bases(file):
            assert text.count(f"'{base}'") == 1
            file.write_text(text.replace(f"'{base}'", f"*['{base}'][1:]"))
            try:
                rest = Config.fromfile(file).to_dict()
            except (AttributeError, KeyError, TypeError):
                continue
            assert rest != whole, base
    finally:
        file.write_text(text)


def test_hooks_and_imports_stand_once():
    """But for the networks of two modules that register themselves when they are imported."""
    texts = {name: (CONFIGS / name).read_text() for name in FILES}
    assert [name for name, text in texts.items() if 'CompressionHook' in text] == [
        '_base_/runtime.py'
    ]
    assert [name for name, text in texts.items() if '\ncustom_imports = ' in text] == [
        '_base_/runtime.py',
        *(name for name in FILES if name.startswith('dense/dense_resnext')),
    ]
