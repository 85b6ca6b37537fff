"""compat/mmrazor/quantization.py: a stand-in where MMRazor's tables do not import."""

import sys
from types import ModuleType

import pytest

from mmcompress.compat.mmrazor import quantization as remedy


def test_a_failing_import_becomes_a_stand_in(monkeypatch):
    module = ModuleType(remedy.NAME)

    def execute():
        module.half_made = 1
        monkeypatch.setitem(sys.modules, remedy.NAME + '.probe_part', ModuleType('part'))
        raise ImportError('cannot import name X')

    remedy._import_or_stand_in(module, execute)
    assert not hasattr(module, 'half_made')
    assert remedy.NAME + '.probe_part' not in sys.modules
    assert module.__all__ == ['BackendConfigs', 'QConfigHandler']
    with pytest.raises(ImportError, match='cannot import name X'):
        module.BackendConfigs['native']
    with pytest.raises(ImportError, match='quantization does not work'):
        module.QConfigHandler({})


def test_a_working_import_is_left_alone():
    module = ModuleType(remedy.NAME)
    remedy._import_or_stand_in(module, lambda: setattr(module, 'BackendConfigs', {'native': 1}))
    assert module.BackendConfigs == {'native': 1}
    assert not hasattr(module, 'QConfigHandler')
