"""CIFARDenseNet: counts of the papers' networks, shapes, initialization."""

import pytest
import torch
from torch import nn

from mmcompress.models import CIFARDenseNet
from mmcompress.registry import MODELS

DEPTHS_121 = (6, 12, 24, 16)


def _params(model: nn.Module, features: int, classes: int) -> int:
    """With the linear classifier."""
    return sum(p.numel() for p in model.parameters()) + (features + 1) * classes


def test_densenet40_counts_layer_by_layer():
    """A stem of 24, three blocks of 12, transitions that keep the width: 168, 312, 456."""
    inputs = [24 + 12 * i + extra for extra in (0, 144, 288) for i in range(12)]
    growth = sum(2 * c + 9 * c * 12 for c in inputs)
    transitions = sum(2 * c + c * c for c in (168, 312))
    expected = 27 * 24 + growth + transitions + 2 * 456 + 457 * 10
    assert _params(CIFARDenseNet((12, 12, 12), growth=12), 456, 10) == expected == 1059298


def test_densenet121_counts_as_the_common_cifar100_code():
    model = CIFARDenseNet(DEPTHS_121, growth=32, bottleneck=True, compression=0.5)
    assert _params(model, 1024, 100) == 7048548


def test_forward_returns_a_tuple_of_the_last_map():
    out = CIFARDenseNet((2, 3, 1), growth=4, compression=0.5)(torch.randn(2, 3, 32, 32))
    assert isinstance(out, tuple)
    # 8 + 2 * 4 halved, + 3 * 4 halved, + 4
    assert [tuple(x.shape) for x in out] == [(2, 14, 8, 8)]


@pytest.mark.parametrize('reduction', [1, 6])
def test_residual_transitions(reduction):
    """Two convolutions with few channels between, a shortcut, and the mean of 2x2 pixels."""
    model = CIFARDenseNet((1, 1), growth=12, transition_reduction=reduction).double().eval()
    plain = CIFARDenseNet((1, 1), growth=12)
    added = 2 * 36 * 36 // reduction - 36 * 36
    assert _params(model, 1, 1) - _params(plain, 1, 1) == added
    layer = model.transition1
    x = torch.randn(2, 36, 6, 6, dtype=torch.double)
    inner = layer.conv2(layer.conv1(layer.bn(x).relu())) + x
    quarters = [inner[:, :, i::2, j::2] for i in (0, 1) for j in (0, 1)]
    torch.testing.assert_close(layer(x), sum(quarters) / 4)


@pytest.mark.parametrize(
    ('kwargs', 'message'),
    [
        (dict(transition_reduction=0), 'transition_reduction=0'),
        (dict(transition_reduction=True), 'transition_reduction=True'),
        (dict(transition_reduction=6, compression=0.5), 'compression=0.5'),
    ],
)
def test_errors_name_what_was_found(kwargs, message):
    with pytest.raises(ValueError, match=message):
        CIFARDenseNet((1, 1), growth=12, **kwargs)


@pytest.mark.parametrize('bottleneck', [False, True])
def test_layer_appends_its_output_to_the_input(bottleneck):
    model = CIFARDenseNet((2,), growth=4, bottleneck=bottleneck).eval()
    layer = model.layer1[1]
    x = torch.randn(1, 12, 8, 8)
    given = x.clone()
    out = layer(x)
    assert torch.equal(x, given)
    assert torch.equal(out[:, :12], x)
    inner = x
    for i in range(1, 3 if bottleneck else 2):
        bn, conv = (layer.body.get_submodule(f'{kind}{i}') for kind in ('bn', 'conv'))
        inner = conv(bn(inner).relu())
    assert torch.equal(out[:, 12:], inner)


def test_initialization_is_kaiming_fan_out():
    model = CIFARDenseNet(DEPTHS_121, growth=32, bottleneck=True)
    model.init_weights()
    conv = model.layer4[3].body.conv1
    assert conv.weight.std().item() == pytest.approx((2 / 128) ** 0.5, rel=0.03)
    assert model.bn.weight.eq(1).all()


def test_is_registered():
    cfg = dict(type='mmcompress.CIFARDenseNet', depths=(1, 1), growth=2)
    assert isinstance(MODELS.build(cfg), CIFARDenseNet)
