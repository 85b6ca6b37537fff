"""benchmarks/runtimes.py: exports in other runtimes, whose converters may do what they like."""

import json
import re

import numpy as np
import pytest
import torch
from torch import nn

from mmcompress.core.errors import CompressionError


def program(folder, *lines):
    """A stand-in for the interpreter of a conversion."""
    path = folder / 'python'
    path.write_text('\n'.join(['#!/bin/sh', *lines]))
    path.chmod(0o755)
    return str(path)


def test_one_export_in_one_runtime(tool, tmp_path):
    file, out = tmp_path / 'found.json', tmp_path / 'files'
    text = tool.succeed(
        'runtimes', tool.DEMO, '--runtimes', 'onnxruntime', '--json', file, '--out', out
    )
    [row] = json.loads(file.read_text())
    assert (row['model'], row['outputs']) == ('dcff_resnet20_digits', 'tensor')
    assert 0 <= row['difference'] < 1e-4
    assert f'onnxruntime {row["versions"]["onnxruntime"]}' in text
    # A network whose outputs differ from image to image.
    expected = np.load(out / 'dcff_resnet20_digits' / 'expected.npz')
    assert np.abs(expected['0_0'] - expected['1_0']).max() > 1e-3


def test_a_runtime_that_is_not_installed(tool, monkeypatch, tmp_path):
    conversions = tool.module('conversions')
    monkeypatch.setitem(conversions.PACKAGES, 'ncnn', dict(json='json', nosuch_module='no-such'))
    found = conversions.main('ncnn', tmp_path)
    assert found == dict(missing=['no-such'], versions={})
    module = tool.module('runtimes')
    assert module.verdict(found) == 'not installed'
    row = dict(found, model='net', runtime='ncnn')
    assert list(module.reasons([row])) == ['ncnn: not installed; `pip install no-such` (net)']


@pytest.mark.parametrize(
    ('lines', 'expected'),
    [
        (['echo from C >&2', 'kill -SEGV $$'], 'the process was ended by signal 11: from C'),
        (['echo RuntimeError: no >&2', 'exit 1'], 'exit status 1: RuntimeError: no'),
        (['echo {\\"half'], 'exit status 0'),
        (['sleep 60'], 'no answer within 0.5 s'),
    ],
)
def test_a_conversion_without_an_answer_is_a_row(tool, tmp_path, lines, expected):
    module = tool.module('runtimes')
    found = module.convert(program(tmp_path, *lines), 'ncnn', tmp_path, timeout=0.5)
    assert found == dict(error=expected, versions={})
    assert module.verdict(found) == 'fails'
    row = dict(found, model='net', runtime='ncnn')
    assert list(module.reasons([row, dict(row, model='other')])) == [
        f'ncnn: {expected} (net, other)'
    ]


def test_the_answer_is_the_last_line(tool):
    said = '[libc prints]\n{"difference": 0.5, "versions": {"ncnn": "1.0"}}\n'
    found = tool.module('runtimes').answer(0, said, 'a warning')
    assert found == dict(difference=0.5, versions=dict(ncnn='1.0'))
    assert tool.module('runtimes').verdict(found) == 'differs by 0.5'


def test_difference_is_a_share_of_the_output(tool):
    difference = tool.module('conversions').difference
    wanted = [np.array([[4.0, -8.0]]), np.array([[0.1]])]
    # Of the second output; ncnn knows no batch.
    assert difference(wanted, [np.array([5.0, -8.0]), np.array([0.05])]) == 0.5
    assert difference(wanted, [np.array([5.0, np.nan]), np.array([0.1])]) == float('inf')
    with pytest.raises(ValueError, match='shapes'):
        difference(wanted, [np.array([[4.0], [-8.0]]), np.array([0.1, 0.1])])
    with pytest.raises(ValueError, match='shapes'):
        difference(wanted, wanted[:1])


@pytest.mark.parametrize(
    ('arguments', 'expected'),
    [
        (['--timeout', '0'], '--timeout is 0; it has to be more than 0'),
        (['--python', 'nowhere/python'], "--python: 'nowhere/python' is not a program"),
    ],
)
def test_bad_arguments(tool, monkeypatch, arguments, expected):
    monkeypatch.setattr('sys.argv', ['runtimes.py', *arguments])
    with pytest.raises(CompressionError, match=expected):
        tool.module('runtimes').parse_args()


def test_a_folder_without_an_export(tool, tmp_path):
    with pytest.raises(CompressionError, match=r'is no export: it has no compact\.py'):
        tool.module('runtimes').make_ready((str(tmp_path), tmp_path / 'files'))


class Indexing(nn.Module):
    """All that ncnn can't do."""

    def __init__(self):
        super().__init__()
        self.register_buffer('kept', torch.tensor([3, 0, 4]))

    def forward(self, x):
        few = x[:, :, ::2, ::3].index_select(1, self.kept)
        wide = few.new_zeros(1, 5, *few.shape[2:])
        return wide.index_copy(1, self.kept, few) + torch.relu(wide + 1).index_add(
            1, self.kept, few
        )


def test_a_trace_without_gather(tool):
    model, x = Indexing(), torch.rand(1, 5, 7, 7)
    traced = tool.module('without_gather').trace(model, x)
    assert torch.equal(traced(x + 1), model(x + 1))
    assert not re.search('index_|slice', str(traced.inlined_graph))
