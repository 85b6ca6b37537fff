"""CIFARResNet: published counts, shapes, initialization."""

import pytest
import torch
from mmengine.analysis import get_model_complexity_info
from torch import nn

from mmcompress.models import CIFARResNet, PadShortcut
from mmcompress.registry import MODELS


class _Classifier(nn.Module):
    """Backbone, mean, linear layer, as the authors' networks end.

    mmpretrain's neck pools adaptively, for which mmengine counts 64 * 8 * 8 operations more.
    """

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.fc = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.backbone(x)[-1].mean((2, 3)))


def _count(backbone: nn.Module) -> tuple[int, int]:
    info = get_model_complexity_info(
        _Classifier(backbone).eval(), (3, 32, 32), show_table=False, show_arch=False
    )
    return info['params'], info['flops']


def test_resnet56_counts_as_in_dcff():
    assert _count(CIFARResNet(56)) == (853018, 126550656)


def test_resnet56_counts_as_in_filter_basis():
    assert _count(CIFARResNet(56, stem_bias=True)) == (853034, 126550656)


@pytest.mark.parametrize(('depth', 'params'), [(20, 269722), (32, 464154), (110, 1727962)])
def test_params_of_other_depths(depth, params):
    model = _Classifier(CIFARResNet(depth))
    assert sum(p.numel() for p in model.parameters()) == params


def test_projection_adds_two_1x1_convolutions_with_batch_norm():
    def params(kind: str) -> int:
        return sum(p.numel() for p in CIFARResNet(20, kind).parameters())

    assert params('projection') - params('pad') == (16 * 32 + 2 * 32) + (32 * 64 + 2 * 64)


@pytest.mark.parametrize('shortcut', CIFARResNet.shortcuts)
def test_forward_returns_a_tuple_of_the_last_map(shortcut):
    out = CIFARResNet(20, shortcut)(torch.randn(2, 3, 32, 32))
    assert isinstance(out, tuple)
    assert [tuple(x.shape) for x in out] == [(2, 64, 8, 8)]


def test_shortcuts_sit_where_stages_begin():
    model = CIFARResNet(32)
    pads = {name: m for name, m in model.named_modules() if isinstance(m, PadShortcut)}
    assert pads.keys() == {'layer2.0.shortcut', 'layer3.0.shortcut'}
    assert not any(pad.pool for pad in pads.values())
    pools = [m for m in CIFARResNet(32, 'pool').modules() if isinstance(m, PadShortcut)]
    assert [pad.pool for pad in pools] == [True, True]
    assert isinstance(model.layer1[0].shortcut, nn.Identity)


def test_block_adds_the_shortcut_before_the_last_relu():
    block = CIFARResNet(20).eval().layer2[0]
    x = torch.rand(1, 16, 8, 8)
    inner = block.bn2(block.conv2(block.bn1(block.conv1(x)).relu()))
    assert torch.equal(block(x), (inner + block.shortcut(x)).relu())


def test_initialization_is_kaiming_fan_out():
    model = CIFARResNet(20)
    nn.init.constant_(model.bn1.weight, 5)
    model.init_weights()
    conv = model.layer3[2].conv2
    assert conv.weight.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.03)
    assert model.bn1.weight.eq(1).all()


def test_initialization_from_a_checkpoint(tmp_path):
    trained = CIFARResNet(20)
    path = tmp_path / 'trained.pth'
    torch.save(trained.state_dict(), path)
    model = CIFARResNet(20, init_cfg=dict(type='Pretrained', checkpoint=str(path)))
    model.init_weights()
    for key, value in trained.state_dict().items():
        assert torch.equal(model.state_dict()[key], value), key


@pytest.mark.parametrize(
    ('kwargs', 'message'),
    [
        (dict(depth=18), 'depth=18 is not 6n'),
        (dict(depth=20, shortcut='conv'), "shortcut='conv' is unknown.*'pad'.*'projection'"),
    ],
)
def test_errors_name_what_was_found(kwargs, message):
    with pytest.raises(ValueError, match=message):
        CIFARResNet(**kwargs)


def test_is_registered():
    assert isinstance(MODELS.build(dict(type='mmcompress.CIFARResNet', depth=20)), CIFARResNet)
