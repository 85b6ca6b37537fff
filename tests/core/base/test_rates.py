"""core/base/rates.py: pruning rates as papers write them, parsed and never evaluated."""

import pytest

from mmcompress.core.base.rates import parse_rates
from mmcompress.core.base.units_file import keep_ratios
from mmcompress.core.errors import CompressionError

UNITS = ['stem', 'layer1.conv1', 'layer1.conv2', 'layer2.conv1', 'layer2.conv2']


@pytest.mark.parametrize(
    'text',
    [
        '[0.5]*2+[0.4]',
        '[0.0]+([0.7]*7+[0.45]*9)*2+[0.24]*3+[0.0]',
        '2*[0.1, 0]',
        ' [0.35,0.4,0.1] * 10 ',
        '[.3]*0+[0.2]',
    ],
)
def test_as_python_reads_it(text):
    assert parse_rates(text) == eval(text.strip())


def test_a_list_is_one():
    assert parse_rates([0, 0.5]) == [0.0, 0.5]


@pytest.mark.parametrize(
    'text',
    [
        '__import__("os").system("true")',
        '[0.5]*2+x',
        '[0.5].__class__',
        '[r for r in (0.5,)]',
        '[0.5]+0.4',
        '[0.5]*[2]',
        '[0.5]*1.5',
        '[0.5]*10**9',
        '[0.5]*1000000000',
        '([0.5]*100000)*100000',
        '[1.0]',
        '[-0.1]',
        '[True]',
        '[[0.5]]',
        '["0.5"]',
        '0.5',
        '[]',
        '[0.5',
        '',
    ],
)
def test_anything_else_is_an_error(text):
    with pytest.raises(CompressionError, match='^here'):
        parse_rates(text, 'here')


def test_units_in_the_order_of_patterns():
    """What one pattern has taken is not there for the next."""
    order = ['*.conv1', 'stem', 'layer*']
    found = keep_ratios(dict(pruning_rates='[0.1]*2+[0.2]+[0.3]*2', order=order), UNITS)
    assert found == pytest.approx(dict(zip(UNITS, (0.8, 0.9, 0.7, 0.9, 0.7), strict=True)))


def test_all_units_by_default():
    found = keep_ratios(dict(pruning_rates='[0.5]*5'), UNITS)
    assert found == dict.fromkeys(UNITS, 0.5)


def test_units_without_a_pattern_stay():
    found = keep_ratios(dict(pruning_rates='[0.5]', order=['stem']), UNITS)
    assert found == {**dict.fromkeys(UNITS, 1.0), 'stem': 0.5}


@pytest.mark.parametrize(
    ('target', 'key'),
    [
        (dict(pruning_rates='[0.5]*4'), 'pruning_rates has 4 rates for 5 units'),
        (dict(pruning_rates='[0.5]', order=['layer3*']), 'order'),
        (dict(pruning_rates='[0.5]', order='stem'), 'order'),
        (dict(pruning_rates='[0.5]', stem=0.5), "'stem'"),
    ],
)
def test_rates_that_do_not_fit(target, key):
    with pytest.raises(CompressionError, match=key):
        keep_ratios(target, UNITS)
