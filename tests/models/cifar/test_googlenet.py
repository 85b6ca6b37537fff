"""CIFARGoogLeNet: published counts, shapes, wiring."""

import pytest
import torch
from mmengine.analysis import get_model_complexity_info
from torch import nn

from mmcompress.models import CIFARGoogLeNet
from mmcompress.registry import MODELS


class _Classifier(nn.Module):
    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.fc = nn.Linear(1024, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.backbone(x)[-1].mean((2, 3)))


def test_counts():
    model = _Classifier(CIFARGoogLeNet(conv_bias=True)).eval()
    info = get_model_complexity_info(model, (3, 32, 32), show_table=False, show_arch=False)
    convs = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    channels = sum(conv.out_channels for conv in convs)
    weights = sum(conv.weight.numel() for conv in convs)
    # A bias and two batch-norm parameters a channel, and the classifier.
    assert info['params'] == weights + 3 * channels + 10250 == 6166250
    # HRank (Lin et al., CVPR 2020) prints 1.52B, truncated.
    assert info['flops'] == 1526865920


def test_structure():
    model = CIFARGoogLeNet()
    convs = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    # The stem, and nine times 1 + 2 + 3 + 1.
    assert len(convs) == 1 + 9 * 7
    assert sum(isinstance(m, nn.BatchNorm2d) for m in model.modules()) == len(convs)
    assert all(conv.bias is None for conv in convs)
    assert model.a4.branch1x1.conv1.in_channels == 480
    assert model.b5.branch5x5.conv3.out_channels == 128


def test_forward_returns_a_tuple_of_the_last_map():
    out = CIFARGoogLeNet()(torch.randn(2, 3, 32, 32))
    assert [tuple(x.shape) for x in out] == [(2, 1024, 8, 8)]


def test_inception_concatenates_its_branches_in_order():
    block = CIFARGoogLeNet().eval().a3
    x = torch.rand(1, 192, 8, 8)
    out = block(x)
    parts = out.split([64, 128, 32, 32], dim=1)
    pooled = nn.functional.max_pool2d(x, 3, stride=1, padding=1)
    assert torch.equal(parts[0], block.branch1x1(x))
    assert torch.equal(parts[1], block.branch3x3(x))
    assert torch.equal(parts[2], block.branch5x5(x))
    assert torch.equal(parts[3], block.branch_pool(pooled))


def test_initialization():
    model = CIFARGoogLeNet(conv_bias=True)
    model.init_weights()
    conv = model.b5.branch3x3.conv2
    assert conv.weight.std().item() == pytest.approx((2 / (384 * 9)) ** 0.5, rel=0.02)
    assert not conv.bias.any()


def test_is_registered():
    assert isinstance(MODELS.build(dict(type='mmcompress.CIFARGoogLeNet')), CIFARGoogLeNet)
