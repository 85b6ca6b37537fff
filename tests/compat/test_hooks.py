"""compat/_hooks.py: acting at the moment of an import."""

import importlib
import sys

import pytest

from mmcompress.compat import _hooks


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A module on the path, `hooked_probe`, that counts how often it is executed."""
    source = 'runs = globals().get("runs", 0) + 1\n'
    (tmp_path / 'hooked_probe.py').write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield 'hooked_probe'
    sys.modules.pop('hooked_probe', None)
    _hooks._arounds.pop('hooked_probe', None)


def test_nothing_is_imported_until_somebody_does(package):
    seen = []
    _hooks.after_import(package, seen.append)
    assert package not in sys.modules
    assert seen == []
    module = importlib.import_module(package)
    assert seen == [module]
    assert module.runs == 1


def test_what_is_imported_already_is_acted_on_at_once(package):
    module = importlib.import_module(package)
    seen = []
    _hooks.after_import(package, seen.append)
    assert seen == [module]


def test_around_decides_whether_and_when_the_module_runs(package):
    order = []

    def around(module, execute):
        order.append(hasattr(module, 'runs'))
        execute()
        execute()
        order.append(module.runs)

    _hooks.around_import(package, around)
    importlib.import_module(package)
    assert order == [False, 2]


def test_around_comes_too_late_for_an_imported_module(package):
    importlib.import_module(package)
    _hooks.around_import(package, lambda module, execute: pytest.fail('called'))
    assert importlib.reload(sys.modules[package]).runs == 2


def test_a_failed_import_fails_and_can_be_tried_again(package):
    calls = []

    def around(module, execute):
        calls.append(module)
        if len(calls) == 1:
            raise RuntimeError('first time')
        execute()

    _hooks.around_import(package, around)
    with pytest.raises(RuntimeError, match='first time'):
        importlib.import_module(package)
    assert importlib.import_module(package).runs == 1
    assert len(calls) == 2


def test_the_loader_is_left_as_it_was(package):
    _hooks.after_import(package, lambda module: None)
    module = importlib.import_module(package)
    assert 'exec_module' not in vars(module.__loader__)
    assert module.__loader__.get_source(package).startswith('runs')


def test_a_missing_module_is_missed_as_usual():
    _hooks.after_import('no_such_module_anywhere', lambda module: None)
    try:
        with pytest.raises(ModuleNotFoundError, match='no_such_module_anywhere'):
            importlib.import_module('no_such_module_anywhere')
    finally:
        del _hooks._arounds['no_such_module_anywhere']


def test_importable_is_what_has_code(package, tmp_path):
    (tmp_path / 'just_a_folder').mkdir()
    assert _hooks.is_importable(package)
    assert package not in sys.modules
    assert _hooks.is_importable('sys')
    assert not _hooks.is_importable('just_a_folder')
    assert not _hooks.is_importable('no_such_module_anywhere')


def test_a_finder_that_refuses_makes_a_module_not_importable(package, monkeypatch):
    class Refuse:
        def find_spec(self, name, path=None, target=None):
            if name == package:
                raise ModuleNotFoundError(name)

    monkeypatch.setattr(sys, 'meta_path', [Refuse(), *sys.meta_path])
    assert not _hooks.is_importable(package)
