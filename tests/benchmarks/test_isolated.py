"""report/isolated.py: what one item does is no other item's affair."""

import os
import time

from isolated import in_processes

from mmcompress.core import CompressionError


def body(item):
    if item == 'dies':
        os._exit(3)
    if item == 'hangs':
        time.sleep(60)
    if item == 'raises':
        raise CompressionError('one sentence')
    if item == 'breaks':
        return [][0]
    os.environ['MMCOMPRESS_TEST_ITEM'] = item
    return item.upper()


def outcome(*items, timeout=30.0):
    found = {}
    for item, result, reason in in_processes(body, items, jobs=2, timeout=timeout):
        assert item not in found
        found[item] = result, reason
    assert set(found) == set(items)
    return found


def test_results_come_back():
    assert outcome('a', 'b', 'c') == {'a': ('A', ''), 'b': ('B', ''), 'c': ('C', '')}
    assert 'MMCOMPRESS_TEST_ITEM' not in os.environ


def test_failures_are_reasons():
    found = outcome('a', 'dies', 'raises', 'breaks')
    assert found['a'] == ('A', '')
    assert found['dies'] == (None, 'the process ended with status 3')
    assert found['raises'] == (None, 'CompressionError: one sentence')
    assert found['breaks'][0] is None
    assert found['breaks'][1].startswith('IndexError: list index out of range (test_isolated.py:')


def test_a_hang_is_one_failure():
    found = outcome('hangs', 'a', timeout=1.0)
    assert found == {'a': ('A', ''), 'hangs': (None, 'no answer within 1 s')}
