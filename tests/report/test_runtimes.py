"""Every runtime computes the same."""

import copy

import pytest
import torch
from mmengine.registry import MODELS
from torch import nn

from mmcompress.core import CompressionError
from mmcompress.report import runtimes as module
from mmcompress.report.runtimes import OnnxFiles, Runtime, fold_all, laid_out, prepare, runtimes


def test_every_combination_of_what_is_asked_for(monkeypatch):
    monkeypatch.setattr(module, '_check_compiler', lambda: None)
    names = [way.name for way in runtimes(fold_bn=True, channels_last=True, onnx=True)]
    assert names == ['eager', 'channels_last', 'folded', 'folded channels_last', 'onnxruntime']
    names = [way.name for way in runtimes(fold_bn=True, compiled=True)]
    assert names == ['eager', 'folded', 'compiled', 'folded compiled']
    assert [way.name for way in runtimes()] == ['eager']
    assert [way.is_module for way in runtimes(compiled=True, onnx=True)] == [True, False, False]


@pytest.mark.parametrize(
    'runtime',
    [Runtime(), Runtime(channels_last=True), Runtime(folded=True), Runtime(compiled=True)],
    ids=lambda runtime: runtime.name,
)
def test_same_outputs(tiny_cfg, runtime):
    model = MODELS.build(tiny_cfg).eval()
    before = copy.deepcopy(model)
    images = torch.randn(2, 3, 8, 8)
    run = prepare(fold_all(model, model)[0] if runtime.folded else model, runtime, 'tensor', None)
    with torch.no_grad():
        expected = model(images)
        found = run(laid_out(images, runtime))[0]
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert str(model) == str(before)
    assert model.backbone.conv2.weight.is_contiguous()


def test_channels_last_is_what_it_says(tiny_cfg):
    runtime = Runtime(channels_last=True)
    run = prepare(MODELS.build(tiny_cfg), runtime, 'tensor', None)
    assert run.model.backbone.conv2.weight.is_contiguous(memory_format=torch.channels_last)
    images = laid_out(torch.randn(2, 3, 8, 8), runtime)
    assert images.is_contiguous(memory_format=torch.channels_last)


def test_onnx_files_are_written_once(tiny_cfg, tmp_path, monkeypatch):
    model = MODELS.build(tiny_cfg).eval()
    files = OnnxFiles(tmp_path, (3, 8, 8))
    images = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        expected = model(images)
    for threads in (1, 2):
        found = files.session('tiny', model, threads)(images)[0]
        torch.testing.assert_close(torch.from_numpy(found), expected, rtol=1e-4, atol=1e-5)
        monkeypatch.setattr(module, 'export_onnx', None)


def test_a_part_of_a_model_is_no_comparison(tmp_path, monkeypatch):
    monkeypatch.setattr(module, 'export_onnx', lambda *_: dict(outputs='features'))
    with pytest.raises(CompressionError, match='--onnx: of ReLU only backbone and neck .* leave'):
        OnnxFiles(tmp_path, (3, 8, 8)).session('a', nn.ReLU(), 1)


def test_without_a_compiler(monkeypatch):
    def fails(*_args, **_kwargs):
        raise RuntimeError('No working C++ compiler found\nand a long story')

    monkeypatch.setattr(torch, 'compile', fails)
    says = r'--compile: torch.compile does not work here \(RuntimeError: No working C\+\+ compiler'
    with pytest.raises(CompressionError, match=says) as info:
        runtimes(compiled=True)
    assert 'long story' not in str(info.value)
