"""ExpandedMobileNetV2: its published forms, shapes, shortcuts."""

import pytest
import torch
from torch import nn

from mmcompress.models import ExpandedMobileNetV2
from mmcompress.registry import MODELS

CIFAR = dict(stem_kernel=1, stem_stride=1, strides=(1, 2, 2, 2, 1, 1, 1), projection=True)

#: What sharing leaves out: one 1x1 expansion for each block from the third on of stages 3 to 6.
SHARED = 32 * 192 + 2 * 64 * 384 + 96 * 576 + 160 * 960


@pytest.mark.parametrize(
    ('settings', 'classes', 'shared'), [(CIFAR, 100, 2163812), ({}, 1000, 3243080)]
)
def test_published_params(settings, classes, shared):
    params = sum(p.numel() for p in ExpandedMobileNetV2(**settings).parameters())
    assert params + 1281 * classes - SHARED == shared


@pytest.mark.parametrize('in_channels', [1, 3])
def test_form_of_linear_conv(in_channels):
    """Counted from the authors' list, with 10 classes; no ReLU6."""
    model = ExpandedMobileNetV2(
        stem_stride=1,
        strides=(1, 1, 2, 2, 1, 2, 1),
        projection=True,
        outer_bias=False,
        outer_relu6=False,
        in_channels=in_channels,
    )
    params = sum(p.numel() for p in model.parameters()) + 1281 * 10
    assert params == 2296922 - 9 * 32 * (3 - in_channels)
    assert not any(isinstance(m, nn.ReLU6) for m in model.modules())
    out = model(torch.randn(2, in_channels, 32, 32))
    assert [tuple(x.shape) for x in out] == [(2, 1280, 4, 4)]


@pytest.mark.parametrize(('settings', 'size'), [(CIFAR, 5), ({}, 1)])
def test_forward_returns_a_tuple_of_the_last_map(settings, size):
    """34 pixels halved three times, or 32 halved five times."""
    out = ExpandedMobileNetV2(**settings)(torch.randn(2, 3, 32, 32))
    assert isinstance(out, tuple)
    assert [tuple(x.shape) for x in out] == [(2, 1280, size, size)]


@pytest.mark.parametrize(('settings', 'projections'), [(CIFAR, {1, 5, 6, 7}), ({}, set())])
def test_shortcuts(settings, projections):
    model = ExpandedMobileNetV2(**settings)
    stages = {i: getattr(model, f'layer{i}') for i in range(1, 8)}
    assert {i for i, stage in stages.items() if stage[0].shortcut is not None} == projections
    assert all(
        isinstance(block.shortcut, nn.Identity) for stage in stages.values() for block in stage[1:]
    )


def test_block_adds_the_shortcut_behind_the_last_norm():
    block = ExpandedMobileNetV2(**CIFAR).eval().layer5[0]
    x = torch.randn(1, 64, 4, 4)
    inner = block.bn1(block.conv1(x)).relu()
    inner = block.bn3(block.conv3(block.bn2(block.conv2(inner)).relu()))
    assert torch.equal(block(x), inner + block.shortcut(x))


def test_strides_are_one_a_stage():
    with pytest.raises(ValueError, match=r'strides=\(1, 2\) has not 7 entries'):
        ExpandedMobileNetV2(strides=(1, 2))


def test_is_registered():
    built = MODELS.build(dict(type='mmcompress.ExpandedMobileNetV2'))
    assert isinstance(built, ExpandedMobileNetV2)
