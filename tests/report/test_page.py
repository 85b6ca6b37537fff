"""report/page.py and report/html.py: one file that loads nothing, and escapes what it shows."""

import html.parser
import re

import pytest

from mmcompress.core.base.figure import Figure, Series
from mmcompress.report.html import Html, element, table
from mmcompress.report.page import duration, page, ratio, summary_table

EVIL = '<script>alert("1")</script>&\'"'


def test_elements_escape():
    assert element('p', EVIL) == (
        '<p>&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&amp;&#x27;&quot;</p>'
    )
    assert element('a', 'x', href='"><b') == '<a href="&quot;&gt;&lt;b">x</a>'
    assert element('p', [element('br'), None, 3], class_='c') == '<p class="c"><br>3</p>'
    assert element('p', Html('<b>')) == '<p><b></p>'
    assert EVIL not in table([[EVIL, EVIL]], [EVIL, EVIL], EVIL)


class Reader(html.parser.HTMLParser):
    """Tags in order, whether they are closed, and all text."""

    VOID = ('br', 'img', 'link', 'meta')

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.links, self.text = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for key, value in attrs if key in ('src', 'href', 'xlink:href')]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def report(name='slim', **more):
    figures = [Figure('f', f'{name} title', 'lines', name, name, [Series(name, [1, 2], [1, 2])])]
    run = dict(
        name=name,
        method='Some',
        folder=name,
        config=name,
        history=dict(seconds=90.0),
        metric=dict(name=name, value=91.25, interval=(90.0, 92.5)),
        dense=dict(params=200, macs=4000),
        stored_params=100,
        params=150,
        macs=1000,
        file_bytes=12_345,
        latency=dict(torch=dict(ms=2.0, iqr_ms=0.1, ratio=0.5, ratio_iqr=0.01)),
        notes=[name],
        figures=figures,
    )
    own = dict(name='another', value=0.5, interval=None)
    other = dict(name='dense', method='dense', history=None, metric=own)
    return dict(
        title=name, made=name, metric=name, notes=[name], runs=[run, other], figures=figures, **more
    )


def test_a_page_is_whole_and_loads_nothing():
    text = page(report())
    read = Reader(text)
    assert not read.open
    assert 'script' not in read.tags
    assert all(link.startswith(('#', 'data:')) for link in read.links)
    assert not re.findall(r'url\((?!#)|@import|https?://(?!www\.w3\.org)', text)
    assert 'prefers-color-scheme: dark' in text
    assert text.count('<svg') == 2


def test_names_of_files_are_text():
    text = page(report(EVIL))
    read = Reader(text)
    assert 'script' not in read.tags
    assert EVIL not in text
    assert ''.join(read.text).count('alert("1")') > 5


def test_the_table_over_all_runs():
    rows, head = summary_table(report())
    assert head[:3] == ['run', 'method', 'slim']
    texts = [re.sub('<[^>]+>', ' ', element('td', cell)).strip() for cell in rows[0]]
    assert texts == [
        'slim', 'Some', '91.25 90 to 92.5', '100 50 % of dense', '150 75 % of dense',
        '1.00k 25 % of dense', '12.3 kB', '2 ± 0.1 ms 50 % of dense', '1 min 30 s',
    ]  # fmt: skip
    # It has another metric than the column.
    assert rows[1][2] == ['0.5', '<small>another</small>']
    assert rows[1][3:] == ['-'] * 6
    assert len(rows[1]) == len(head)


@pytest.mark.parametrize(
    ('value', 'spread', 'text'),
    [(0.5, 0.01, '50 % of dense'), (1.3, 0.1, '130 % of dense'), (0.95, 0.06, 'within the spread')],
)
def test_an_effect_within_its_spread_is_none(value, spread, text):
    assert ratio(value, spread) == text


@pytest.mark.parametrize(
    ('seconds', 'text'),
    [(None, '-'), (59.4, '59 s'), (60, '1 min 0 s'), (3600, '1 h 0 min')],
)
def test_durations(seconds, text):
    assert duration(seconds) == text
