"""core/errors.py: the error class and the nearest names."""

import pickle

import pytest
from torch._utils import ExceptionWrapper

from mmcompress.core import CompressionError
from mmcompress.core.errors import nearest

NAMES = ['backbone.conv1', 'backbone.conv2', 'head.fc', 'neck']


def test_it_is_a_value_error():
    assert issubclass(CompressionError, ValueError)


class _Special(CompressionError):
    pass


@pytest.mark.parametrize('kind', [CompressionError, _Special])
def test_it_stays_one_sentence_on_the_way_from_a_worker(kind):
    """PyTorch raises it again with the text of a traceback as its message."""
    sentence = "Caught is no key; CompressionError: it's 'a'"
    try:
        raise kind(sentence)
    except kind:
        wrapper = ExceptionWrapper(where='in DataLoader worker process 0')
    with pytest.raises(kind) as error:
        wrapper.reraise()
    assert type(error.value) is kind
    assert str(error.value) == sentence
    assert str(pickle.loads(pickle.dumps(error.value))) == sentence


@pytest.mark.parametrize(
    ('name', 'first'),
    [('backbone.conv11', "'backbone.conv1'"), ('nekc', "'neck'"), ('head.fcc', "'head.fc'")],
)
def test_the_nearest_name_comes_first(name, first):
    assert nearest(name, NAMES).split(', ')[0] == first


def test_no_more_than_asked_for():
    assert nearest('backbone.conv', NAMES, most=1).count("'") == 2
    assert nearest('backbone.conv', iter(NAMES)).count("'") == 4


def test_something_valid_is_offered_when_nothing_is_close():
    assert nearest('zzzzzzzzz', NAMES, most=2) == "'backbone.conv1', 'backbone.conv2'"
    assert nearest(3, ['neck']) == "'neck'"
    assert nearest('a', []) == 'none'
