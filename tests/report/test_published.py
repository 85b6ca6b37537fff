"""report/published.py and report/published_tables.py: what agrees with what is printed."""

import dataclasses
import io

import pytest
import yaml
from rich.console import Console

from mmcompress.core.errors import CompressionError
from mmcompress.report.published import Row, agreement, parse, read_rows
from mmcompress.report.published_tables import compare, show, summary, to_markdown

ROW = dict(row='a', network='A', source='paper', config='a.py', published=dict(params='0.24M'))
OPERATIONS = dict(mmengine=48_497_280, products=48e6, biases=49e6, mmcv=49e6, elements=5e7)
COUNTED = dict(OPERATIONS, params=240_000, norm_params=10_000)


def row(**changes):
    return Row(system='s', **{**ROW, **changes})


@pytest.mark.parametrize(
    ('text', 'number', 'digit'),
    [('72.77M', 72_770_000, 10_000), ('69k', 69_000, 1000), ('2.25B', 2.25e9, 1e7),
     ('0.10G', 1e8, 1e7), ('41.37 %', 41.37, 0.01), ('2260M', 2.26e9, 1e6), ('270', 270, 1)],
)  # fmt: skip
def test_printed_figures(text, number, digit):
    assert tuple(map(float, parse(text))) == (number, digit)


@pytest.mark.parametrize(
    ('text', 'counted', 'found'),
    [
        ('0.24M', 244_999, 'rounded'),
        ('0.24M', 235_000, 'rounded'),
        ('0.24M', 234_999, ''),
        ('0.24M', 249_999, 'cut'),
        ('0.24M', 250_000, ''),
        ('41.37 %', 41.3749, 'rounded'),
        ('41.37 %', 41.3751, 'cut'),
        ('26.83 %', 26.8197, ''),
    ],
)
def test_agreement_to_the_last_digit(text, counted, found):
    assert agreement(text, counted) == found


@pytest.mark.parametrize('text', ['about 5M', '5T', '', '-3', '1e6', '0.5Mb'])
def test_no_figures(text):
    with pytest.raises(CompressionError, match='published figure'):
        row(published=dict(params=text))


@pytest.mark.parametrize(
    ('published', 'program', 'counts', 'verdict'),
    [
        (dict(params='0.24M'), {}, 'mmengine', 'printed'),
        (dict(params='0.24M', flops='0.10G'), {}, 'mmengine', 'printed'),
        (dict(params='0.24M', flops='0.10G'), {}, 'elements', 'printed'),
        (dict(params='0.24M', macs='0.10G'), {}, 'mmengine', 'differs'),
        (dict(params='0.25M'), dict(params=240_000), 'mmengine', 'program'),
        (dict(params='0.25M'), dict(params=240_001), 'mmengine', 'differs'),
        (dict(flops='0.99G'), dict(macs=48_497_280), 'mmengine', 'program'),
        # The program says nothing about the figure that differs.
        (dict(params='0.24M', macs='0.10G'), dict(params=240_000), 'mmengine', 'differs'),
        (dict(weights='230k'), {}, 'mmengine', 'printed'),
        (dict(macs='48M'), dict(macs=48_499_000), 'mmengine', 'printed'),
        ({}, dict(params=240_000, macs=48_499_000), 'mmengine', 'program'),
        ({}, dict(macs=48_510_000), 'mmengine', 'differs'),
        ({}, {}, 'mmengine', 'unpublished'),
    ],
)
def test_verdicts(published, program, counts, verdict):
    given = row(published=published, program=program, counts=counts)
    assert compare(given, COUNTED)['verdict'] == verdict


def test_reductions_are_of_the_dense_network():
    dense = dict(COUNTED, params=480_000, mmengine=4 * 48_497_280)
    given = row(published=dict(params_down='50.00 %', macs_down='75.00 %'))
    result = compare(given, dict(COUNTED, dense=dense))
    assert result['verdict'] == 'printed'
    assert (result['counted']['macs_down'], result['counted']['params_down']) == (75, 50)


def test_parameters_alone():
    counted = dict(params=240_000, norm_params=10_000)
    result = compare(row(operations=False), counted)
    assert result['verdict'] == 'printed'
    assert result['counted'] == dict(params=240_000, weights=230_000)
    assert '| 240,000 | 0.24M | | | yes |' in to_markdown([result])


def results():
    return [
        compare(row(), COUNTED),
        compare(row(row='b', published=dict(params='3M'), note='why'), COUNTED),
        compare(row(row='c', config=None, note='no rates'), None),
        compare(row(row='d', published={}), COUNTED),
        dict(compare(row(row='e', options=dict(a=[1, 2])), COUNTED), system='t'),
    ]


def test_summary():
    assert summary(results()) == [
        dict(system='s', published=3, agree=1, program=0, differ=2, variants=1),
        dict(system='t', published=1, agree=1, program=0, differ=0, variants=0),
        dict(system='all', published=4, agree=2, program=0, differ=2, variants=1),
    ]


def test_tables_fit_a_terminal():
    out = io.StringIO()
    show(results(), Console(file=out, width=100))
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= 100
    assert sum('240,000' in line for line in lines) == 4
    text = to_markdown(results())
    assert '| [A](../configs/a.py) | 240,000 | 0.24M | 48.50M | | yes |' in text
    assert '- A: why' in text
    assert '- A: `a=[1,2]`' in text


@pytest.mark.parametrize(
    ('change', 'key'),
    [
        (dict(published=dict(neurons='1M')), 'neurons'),
        (dict(program=dict(neurons=1)), 'neurons'),
        (dict(counts='thop'), 'counts'),
        (dict(model='large'), 'model'),
        (dict(source='blog'), 'source'),
        (dict(config=None), 'config'),
        (dict(colour='red'), 'colour'),
    ],
)
def test_wrong_rows(tmp_path, change, key):
    content = dict(sources=dict(paper='A et al.'), rows=[{**ROW, **change}])
    (tmp_path / 's.yml').write_text(yaml.safe_dump(content))
    with pytest.raises(CompressionError, match=key):
        read_rows(tmp_path)


def test_rows_are_read(tmp_path):
    content = dict(sources=dict(paper='A et al.'), rows=[dict(ROW, shape=[3, 8, 8])])
    (tmp_path / 's.yml').write_text(yaml.safe_dump(content))
    expected = dataclasses.replace(row(), source='A et al.', shape=(3, 8, 8))
    assert read_rows(tmp_path, ['s']) == [expected]
    with pytest.raises(CompressionError, match=r"'x'.*'s'"):
        read_rows(tmp_path, ['x'])
