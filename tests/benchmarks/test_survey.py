"""report/survey.py: which configs, and what is asked only once."""

import argparse
import json
from dataclasses import dataclass

import pytest
import survey as module
from survey import add_arguments, chosen, survey

from mmcompress.core.errors import CompressionError

PATTERN = 'resnet/resnet*_8xb32_in1k.py'


@dataclass
class Record:
    config: str
    backbone: str
    analyzer: str
    answer: str = ''
    reason: str = ''


def blank(config, backbone):
    return [Record(config, backbone, analyzer) for analyzer in ('x', 'y')]


def answer(record):
    if record.analyzer == 'y':
        raise ValueError('no')
    record.answer = record.config.upper()
    return record


def arguments(*words):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(['--lib', 'mmpretrain', '--pattern', PATTERN, *map(str, words)])


def test_a_draw_is_reproducible_and_part_of_the_whole():
    def names(*words):
        return [name for group in chosen(arguments(*words)).values() for name, _ in group]

    assert len(names()) > 2
    drawn = names('--sample', 2, '--seed', 1)
    assert drawn == names('--sample', 2, '--seed', 1)
    assert len(drawn) == 2
    assert set(drawn) < set(names())


def test_configs_of_one_model_share_an_answer_and_records_are_kept(tmp_path, monkeypatch):
    group = [('mmpretrain::a.py', 'ResNet-18'), ('mmpretrain::b.py', 'ResNet-18')]
    monkeypatch.setattr(module, 'chosen', lambda args: {'same': group})
    path = tmp_path / 'records.json'
    records, models = survey(arguments('--json', path), blank, answer)
    assert models == 1
    assert [(r['config'][-4], r['analyzer'], r['answer']) for r in records] == [
        ('a', 'x', 'MMPRETRAIN::A.PY'),
        ('a', 'y', ''),
        ('b', 'x', 'MMPRETRAIN::A.PY'),
        ('b', 'y', ''),
    ]
    assert records[1]['reason'].startswith('ValueError: no')
    written = json.loads(path.read_text())
    assert sorted(written, key=str) == sorted(records, key=str)

    def never(record):
        raise AssertionError

    assert survey(arguments('--json', path), blank, never)[0] == records


@pytest.mark.parametrize(
    ('words', 'sentence'),
    [
        (('--lib', 'mmdat'), "--lib: 'mmdat' is none of mmpretrain, mmdet"),
        (('--pattern', 'nosuch'), "--pattern: 'nosuch' matches no ResNet-family config"),
        (('--sample', 0), '--sample: 0 is too few'),
        (('--jobs', 0), '--jobs: 0 is too few'),
        (('--json', __file__), 'holds no records of an earlier run'),
    ],
)
def test_bad_input(words, sentence):
    with pytest.raises(CompressionError, match=sentence):
        survey(arguments(*words), blank, answer)
