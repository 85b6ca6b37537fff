"""compat/mmcv_version.py: a newer mmcv is shown as one that is accepted, during one import."""

import sys
import warnings
from types import ModuleType

import pytest

from mmcompress.compat import mmcv_version as remedy

SOURCE = """
import mmcv
from mmengine.utils import digit_version
{low} = '2.0.0rc4'
{high} = '2.2.0'
seen = mmcv.__version__
assert digit_version({low}) <= digit_version(seen) < digit_version({high}), seen
assert {other}, 'other'
"""


@pytest.fixture
def mmcv(monkeypatch):
    module = ModuleType('mmcv')
    monkeypatch.setitem(sys.modules, 'mmcv', module)
    return module


def run(name, low='mmcv_minimum_version', high='mmcv_maximum_version', other=True):
    module = ModuleType(name)
    source = SOURCE.format(low=low, high=high, other=other)
    remedy._import_with_accepted_version(module, lambda: exec(source, vars(module)))
    return module


@pytest.mark.parametrize('version', ['2.2.0', '2.3.6', '3.0.0'])
def test_mmrazor_sees_a_version_it_accepts(mmcv, version):
    mmcv.__version__ = version
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert run('mmrazor').seen == '2.0.0rc4'
    assert mmcv.__version__ == version


@pytest.mark.parametrize(
    ('name', 'low', 'high'),
    [('mmdet', 'mmcv_minimum_version', 'mmcv_maximum_version'), ('mmseg', 'MMCV_MIN', 'MMCV_MAX')],
)
def test_task_libraries_say_so(mmcv, name, low, high):
    mmcv.__version__ = '2.3.6'
    with pytest.warns(UserWarning, match=rf'{name} was made for mmcv before 2\.2\.0'):
        run(name, low, high)
    assert mmcv.__version__ == '2.3.6'


def test_an_accepted_version_is_shown_as_it_is(mmcv):
    mmcv.__version__ = '2.1.0'
    assert run('mmrazor').seen == '2.1.0'


def test_a_version_that_is_too_old_is_still_refused(mmcv):
    mmcv.__version__ = '1.7.0'
    with pytest.raises(AssertionError, match=r'1\.7\.0'):
        run('mmrazor')


def test_other_assertions_still_hold(mmcv):
    mmcv.__version__ = '2.3.6'
    with pytest.raises(AssertionError, match='other'):
        run('mmrazor', other=False)
    assert mmcv.__version__ == '2.3.6'
