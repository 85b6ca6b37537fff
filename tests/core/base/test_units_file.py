"""core/units_file.py: keep ratios in every form, and every way to get them wrong."""

import json
from fractions import Fraction

import numpy as np
import pytest

from mmcompress.core import CompressionError
from mmcompress.core.base.units_file import keep_ratios, load_json, units_in
from mmcompress.core.checks import check_count, check_ratio

A, B, C = 'backbone.layer1.0.conv1_(0, 8)_8', 'backbone.layer1.0.conv2_(0, 8)_8', 'backbone.x_1'
NAMES = [A, B, C]


def write(folder, content):
    path = folder / 'units.json'
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_none_keeps_all():
    assert keep_ratios(None, iter(NAMES)) == {A: 1.0, B: 1.0, C: 1.0}


@pytest.mark.parametrize('ratio', [0.3, 1, 1.0, np.float32(0.25), np.float64(0.3), Fraction(1, 2)])
def test_a_number_is_for_all(ratio):
    found = keep_ratios(ratio, NAMES)
    assert found == dict.fromkeys(NAMES, float(ratio))
    assert all(type(value) is float for value in found.values())


def test_names_that_are_not_mentioned_keep_all():
    assert keep_ratios({A: 0.5}, NAMES) == {A: 0.5, B: 1.0, C: 1.0}
    with pytest.raises(CompressionError, match='is empty'):
        keep_ratios({}, NAMES)
    with pytest.raises(CompressionError, match='3 is no name'):
        keep_ratios({3: 0.5}, NAMES)


def test_patterns():
    assert keep_ratios({'*conv?_*': 0.5}, NAMES) == {A: 0.5, B: 0.5, C: 1.0}


def test_a_later_pattern_wins_over_an_earlier_one():
    assert keep_ratios({'*': 0.5, '*conv2_*': 0.25}, NAMES) == {A: 0.5, B: 0.25, C: 0.5}
    assert keep_ratios({'*conv2_*': 0.25, '*': 0.5}, NAMES) == {A: 0.5, B: 0.5, C: 0.5}


@pytest.mark.parametrize('target', [{A: 0.1, '*': 0.5}, {'*': 0.5, A: 0.1}])
def test_a_full_name_wins_over_a_pattern_wherever_it_stands(target):
    assert keep_ratios(target, NAMES) == {A: 0.1, B: 0.5, C: 0.5}


def test_a_file_of_units(tmp_path):
    path = write(tmp_path, {A: dict(init_args=dict(num_channels=8), choice=0.5), B: 0.25, C: {}})
    assert keep_ratios(path, NAMES) == {A: 0.5, B: 0.25, C: 1.0}
    assert keep_ratios(str(path), NAMES) == {A: 0.5, B: 0.25, C: 1.0}


def test_a_file_with_the_whole_mutator(tmp_path):
    units = {A: dict(choice=0.5)}
    content = dict(type='DCFFMutator', channel_unit_cfg=dict(type='DCFFUnit', units=units))
    path = write(tmp_path, content)
    assert units_in(load_json(path, 'key')) == units
    assert keep_ratios(path, NAMES) == {A: 0.5, B: 1.0, C: 1.0}


BAD = ['0.5x', None, 0, 0.0, -0.1, 1.2, True, False, float('nan'), float('inf'), [0.5], 1 + 0j]


@pytest.mark.parametrize('ratio', BAD, ids=repr)
def test_bad_ratios(ratio):
    with pytest.raises(CompressionError, match=r'^some\.key is .*above 0 and at most 1'):
        check_ratio(ratio, 'some.key')
    with pytest.raises(CompressionError) as error:
        keep_ratios({A: ratio}, NAMES)
    assert f'target_pruning_ratio[{A!r}] is {ratio!r}' in str(error.value)


@pytest.mark.parametrize('ratio', [0, 1.2, True, float('nan'), [0.5]], ids=repr)
def test_bad_ratios_for_all(ratio):
    with pytest.raises(CompressionError, match='^target_pruning_ratio is '):
        keep_ratios(ratio, NAMES)


def test_a_bad_ratio_in_a_file(tmp_path):
    path = write(tmp_path, '{"%s": {"choice": NaN}}' % A)
    with pytest.raises(CompressionError, match='is nan'):
        keep_ratios(path, NAMES)
    path = write(tmp_path, {A: dict(choice='a')})
    with pytest.raises(CompressionError, match="is 'a'"):
        keep_ratios(path, NAMES)


@pytest.mark.parametrize('name', ['backbone.layer1.0.conv_(0, 8)_8', 'backbone.layer1.0.conv1*_9'])
def test_a_misspelt_name_is_told_with_the_nearest(name):
    with pytest.raises(CompressionError) as error:
        keep_ratios({name: 0.5}, NAMES)
    message = str(error.value)
    assert message.startswith(f'target_pruning_ratio: {name!r} matches no channel unit')
    assert repr(A) in message


@pytest.mark.parametrize('target', ['a', 'missing.json'])
def test_a_string_is_a_path(target):
    with pytest.raises(CompressionError, match=f"^target_pruning_ratio: .* no file '{target}'"):
        keep_ratios(target, NAMES)


@pytest.mark.parametrize(
    ('content', 'says'),
    [
        ('{"a": {"choice": 0.5', 'not a complete JSON file'),
        ('', 'not a complete JSON file'),
        ('[0.5, 0.6]', 'holds a list'),
        ('0.5', 'holds a float'),
        ('null', 'holds a NoneType'),
    ],
)
def test_files_that_are_no_units(tmp_path, content, says):
    path = write(tmp_path, content)
    with pytest.raises(CompressionError, match=says) as error:
        keep_ratios(path, NAMES)
    assert str(path) in str(error.value)
    assert str(error.value).startswith('target_pruning_ratio: ')


def test_a_folder_and_a_binary_file(tmp_path):
    with pytest.raises(CompressionError, match='cannot be read'):
        load_json(tmp_path, 'key')
    path = tmp_path / 'x.json'
    path.write_bytes(b'\xff\xfe\x00\x81')
    with pytest.raises(CompressionError, match='cannot be read'):
        load_json(path, 'key')


@pytest.mark.parametrize(
    'content',
    [
        dict(channel_unit_cfg='DCFFUnit'),
        dict(channel_unit_cfg=None),
        dict(channel_unit_cfg=dict(units=[0.5])),
    ],
    ids=repr,
)
def test_a_mutator_without_a_dict_of_units(tmp_path, content):
    with pytest.raises(CompressionError, match='units'):
        keep_ratios(write(tmp_path, content), NAMES)


def test_counts():
    assert check_count(3, 'some.key') == 3
    for wrong in (0, -1, 2.0, True, '3', None):
        with pytest.raises(CompressionError, match='some.key is .*; it has to be a positive int'):
            check_count(wrong, 'some.key')
