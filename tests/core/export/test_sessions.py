"""Two runtimes behind one call."""

import importlib.util
import subprocess
import sys

import pytest
import torch
from torch import nn

from mmcompress.core import CompressionError
from mmcompress.core.export.onnx import export_onnx
from mmcompress.core.export.sessions import (
    check_openvino,
    openvino_session,
    session,
    write_openvino,
)


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x):
        return dict(maps=self.conv(x), mean=x.mean((2, 3)))


def test_both_runtimes_and_the_names(tmp_path):
    torch.manual_seed(0)
    model, file, xml = Two(), tmp_path / 'a.onnx', tmp_path / 'a.xml'
    found = export_onnx(model, file, (3, 8, 8), openvino=True)
    assert found['names'] == ['maps', 'mean']
    assert found['openvino_difference'] < 1e-4
    assert xml.is_file()
    assert xml.with_suffix('.bin').is_file()
    write_openvino(file, tmp_path / 'again.xml')
    images = torch.randn(2, 3, 9, 7)
    with torch.no_grad():
        expected = model(images)
    for run in (session(file), openvino_session(file, 1), openvino_session(tmp_path / 'again.xml')):
        assert run.names == ('maps', 'mean')
        by_name = run.by_name(images)
        for name, value in expected.items():
            torch.testing.assert_close(torch.from_numpy(by_name[name]), value)


def test_without_openvino(monkeypatch):
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(CompressionError, match='openvino.*pip install openvino'):
        check_openvino()


SIGNALS = """
import faulthandler, signal, subprocess, sys
import torch
from mmcompress.core.export.sessions import openvino_session

faulthandler.enable()
first, second = (openvino_session(sys.argv[1], 1) for _ in range(2))
images = torch.zeros(1, 3, 8, 8)
assert (first(images)[0] == second(images)[0]).all()
del first
del second
heard = []
signal.signal(signal.SIGCHLD, lambda *_: heard.append(1))
subprocess.run(['true'])
print(len(heard))
"""


def test_signals_are_heard_after_sessions_end(tmp_path):
    export_onnx(Two(), tmp_path / 'a.onnx', (3, 8, 8))
    words = [sys.executable, '-c', SIGNALS, str(tmp_path / 'a.onnx')]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, '1\n'), done.stderr
