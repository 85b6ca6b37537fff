"""report/isolated.py: whatever happens to one item, the others get their answers."""

import os
import time

import pytest

from mmcompress.core.errors import CompressionError
from mmcompress.report.isolated import in_processes


def body(item):
    if item == 'crash':
        raise SystemExit(3)
    if item == 'hang':
        time.sleep(60)
    if item == 'ours':
        raise CompressionError('one clear\nsentence')
    if item == 'theirs':
        raise KeyError('width')
    return item.upper()


@pytest.mark.parametrize('jobs', [1, 3])
def test_one_answer_an_item(jobs):
    items = ['a', 'crash', 'ours', 'theirs', 'b']
    found = {item: rest for item, *rest in in_processes(body, items, jobs, timeout=30)}
    assert list(found) == items or jobs > 1
    assert found['a'] == ['A', '']
    assert found['b'] == ['B', '']
    assert found['crash'] == [None, 'the process ended with status 3']
    assert found['ours'] == [None, 'CompressionError: one clear sentence']
    result, reason = found['theirs']
    assert result is None
    assert reason.startswith("KeyError: 'width' (test_isolated.py:")


def test_a_hang_is_ended():
    begin = time.monotonic()
    found = list(in_processes(body, ['hang', 'a'], 1, timeout=0.5))
    assert found == [('hang', None, 'no answer within 0.5 s'), ('a', 'A', '')]
    assert time.monotonic() - begin < 20


def test_every_item_has_its_own_process():
    pids = {pid for _, pid, _ in in_processes(lambda item: os.getpid(), range(3), 2, timeout=30)}
    assert len(pids) == 3
    assert os.getpid() not in pids
