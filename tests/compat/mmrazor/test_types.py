"""compat/mmrazor/types.py: bare names of MMRazor are found from other scopes, as a last resort."""

import sys

import pytest
from mmengine.registry import TASK_UTILS, DefaultScope, Registry

from mmcompress import compat

compat.apply()
razor = pytest.importorskip('mmrazor.registry').TASK_UTILS


@pytest.fixture
def library():
    """The registry of some task library, with a type of its own."""
    # Never imported from: `probe_library` is no module, mmengine only logs that.
    registry = Registry('task util', parent=TASK_UTILS, scope='probe_library')
    registry.register_module('Shared', module=type('Theirs', (), {}))
    yield registry
    del TASK_UTILS._children['probe_library']


@pytest.fixture
def names(library):
    """Types of MMRazor: one name of its own, one that the library has too."""
    kinds = {'OnlyRazor': type('OnlyRazor', (), {}), 'Shared': type('Ours', (), {})}
    for name, kind in kinds.items():
        razor.register_module(name, module=kind)
    yield kinds
    for name in kinds:
        del razor._module_dict[name]


def test_a_bare_name_is_found(library, names):
    assert library.get('OnlyRazor') is names['OnlyRazor']


def test_it_is_built_in_the_default_scope_of_a_run(library, names):
    with DefaultScope.overwrite_default_scope('probe_library'):
        assert type(razor.build({'type': 'OnlyRazor'})) is names['OnlyRazor']
        assert type(TASK_UTILS.build({'type': 'OnlyRazor'})) is names['OnlyRazor']


def test_what_the_library_has_comes_first(library, names):
    assert library.get('Shared').__name__ == 'Theirs'
    with DefaultScope.overwrite_default_scope('probe_library'):
        assert type(razor.build({'type': 'Shared'})).__name__ == 'Theirs'


def test_a_scope_is_respected(library, names):
    assert library.get('probe_library.OnlyRazor') is None
    assert library.get('mmrazor.OnlyRazor') is names['OnlyRazor']


def test_unknown_names_stay_unknown(library, names):
    assert library.get('NoSuchName') is None
    with pytest.raises(KeyError, match='NoSuchName is not in the'):
        library.build({'type': 'NoSuchName'})


def test_mmrazor_is_not_imported_for_it(library, names, monkeypatch):
    monkeypatch.delitem(sys.modules, 'mmrazor.registry')
    assert library.get('OnlyRazor') is None
    assert 'mmrazor.registry' not in sys.modules
