"""compat/torchvision_ops.py: torchvision imports beside a torch it was not built for."""

from types import SimpleNamespace

import pytest
import torch

from mmcompress import compat
from mmcompress.compat import torchvision_ops as remedy

compat.apply()
torchvision = pytest.importorskip('torchvision')


def test_torchvision_imports_and_its_operators_are_what_they_are():
    boxes, scores = torch.tensor([[0.0, 0, 9, 9], [1, 1, 9, 9]]), torch.tensor([0.9, 0.8])
    assert torchvision.transforms.functional.hflip(boxes).shape == boxes.shape
    if torchvision.extension._has_ops():
        assert remedy._keep == []
        assert torchvision.ops.nms(boxes, scores, 0.5).tolist() == [0]
    else:
        # Declared, so that torchvision imports, but without an implementation.
        assert 'Tensor dets' in str(torch.ops.torchvision.nms.default._schema)
        with pytest.raises((RuntimeError, NotImplementedError)):
            torchvision.ops.nms(boxes, scores, 0.5)


def test_working_operators_are_left_alone(monkeypatch):
    monkeypatch.setattr(remedy, '_keep', [])
    monkeypatch.setattr(torch.library, 'Library', lambda *args: pytest.fail('declared'))
    remedy._declare_missing(SimpleNamespace(_has_ops=lambda: True))
    assert remedy._keep == []


def test_what_is_declared_is_not_declared_again(monkeypatch):
    monkeypatch.setattr(torch.library, 'Library', lambda *args: pytest.fail('declared'))
    remedy._declare_missing(SimpleNamespace(_has_ops=lambda: False))
