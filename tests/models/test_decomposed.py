"""models/decomposed.py: the layers that filter basis is compared with, against formulas."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mmcompress.models import CIFARVGG, EDSR, CIFARDenseNet, CIFARResNet, SRResNet
from mmcompress.models.decomposed import FactorConv2d, GroupConv2d, build_conv

FACTOR, GROUP = 'mmcompress.FactorConv2d', 'mmcompress.GroupConv2d'


def normed(x, norm):
    """A batch norm in training, from its definition."""
    mean = x.mean((0, 2, 3), keepdim=True)
    variance = ((x - mean) ** 2).mean((0, 2, 3), keepdim=True)
    scale, shift = norm.weight.view(1, -1, 1, 1), norm.bias.view(1, -1, 1, 1)
    return (x - mean) / (variance + norm.eps).sqrt() * scale + shift


def channelwise(x, conv):
    """A grouped convolution, group by group."""
    size = conv.in_channels // conv.groups
    filters = conv.out_channels // conv.groups
    parts = [
        F.conv2d(
            x[:, i * size : (i + 1) * size],
            conv.weight[i * filters : (i + 1) * filters],
            None,
            conv.stride,
            conv.padding,
        )
        for i in range(conv.groups)
    ]
    bias = 0 if conv.bias is None else conv.bias.view(1, -1, 1, 1)
    return torch.cat(parts, 1) + bias


def pointwise(x, conv):
    out = torch.einsum('oc,nchw->nohw', conv.weight[:, :, 0, 0], x)
    return out if conv.bias is None else out + conv.bias.view(1, -1, 1, 1)


@pytest.mark.parametrize('stride', [1, 2])
@pytest.mark.parametrize('out_channels', [6, 8])
@pytest.mark.parametrize(
    'options',
    [
        dict(bias=False),
        dict(norm_between=True, norm_behind=True),
        dict(layers=3, norm_between=True, widen_last=False),
    ],
)
def test_factor(options, out_channels, stride):
    conv = FactorConv2d(6, out_channels, 3, stride, 1, **options).double()
    x = out = torch.randn(2, 6, 8, 8, dtype=torch.double)
    layers = list(conv)
    assert len(layers) == options.get('layers', 2)
    changes = {layer.depthwise.in_channels != layer.pointwise.out_channels for layer in layers}
    assert changes == ({False} if out_channels == 6 else {False, True})
    for index, layer in enumerate(layers):
        given = out
        out = channelwise(out, layer.depthwise)
        if options.get('norm_between'):
            out = normed(out, layer.norm1)
        out = pointwise(out, layer.pointwise)
        if options.get('norm_behind'):
            out = normed(out, layer.norm2)
        if given.shape == out.shape and (stride == 1 or index > 0):
            out = out + given
        out = out.clamp_min(0)
    torch.testing.assert_close(conv(x), out, rtol=0, atol=1e-12)
    # Channels change in the last layer, or in the first.
    where = -1 if options.get('widen_last', True) else 0
    assert layers[where].pointwise.out_channels == out_channels


@pytest.mark.parametrize('norm_between', [False, True])
def test_group(norm_between):
    conv = GroupConv2d(8, 6, 3, 2, 1, group_size=4, norm_between=norm_between).double()
    x = torch.randn(2, 8, 8, 8, dtype=torch.double)
    out = channelwise(x, conv.grouped)
    if norm_between:
        out = normed(out, conv.norm).clamp_min(0)
    torch.testing.assert_close(conv(x), pointwise(out, conv.pointwise), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ('options', 'channels', 'groups'),
    [
        (dict(group_size=4), (32, 64), 8),
        (dict(group_size=[(32, 4), (64, 8)]), (32, 32), 8),
        (dict(group_size=[(32, 4), (64, 8)]), (32, 64), 4),
        (dict(groups=[(252, 3), (None, 6)]), (252, 12), 3),
        (dict(groups=[(252, 3), (None, 6)]), (264, 12), 6),
    ],
)
def test_groups_by_channels(options, channels, groups):
    conv = GroupConv2d(*channels, 3, widen_last='group_size' in options, **options)
    assert conv.grouped.groups == groups


@pytest.mark.parametrize('options', [{}, dict(groups=2, group_size=4)])
def test_one_of_groups_and_their_size(options):
    with pytest.raises(ValueError, match=f'group_size={options.get("group_size")}'):
        GroupConv2d(8, 8, 3, **options)


def test_a_plain_convolution_without_a_config():
    conv = build_conv(None, 3, 8, 3, padding=1, bias=False)
    assert type(conv) is nn.Conv2d
    assert conv.bias is None
    # A config's settings win.
    assert (
        build_conv(dict(type=GROUP, groups=1, bias=True), 3, 8, 3, bias=False)[0].bias is not None
    )


def kinds(network):
    return [
        name
        for name, part in network.named_modules()
        if isinstance(part, (FactorConv2d, GroupConv2d))
    ]


def test_networks():
    """Which convolutions they are, and that a VGG has no second norm behind them."""
    cfg = dict(type=FACTOR, norm_behind=True)
    vgg = CIFARVGG(11, conv_cfg=cfg, num_plain=2)
    assert len(kinds(vgg)) == 6
    assert [name for name in vgg.state_dict() if 'stage3.bn' in name] == []
    assert 'stage2.bn1.weight' in vgg.state_dict()
    assert len(kinds(CIFARResNet(8, conv_cfg=dict(type=FACTOR)))) == 6
    dense = CIFARDenseNet((2, 2), 4, conv_cfg=dict(type=GROUP, groups=1), bottleneck=True)
    assert [name[-5:] for name in kinds(dense)] == ['conv2'] * 4
    assert len(kinds(EDSR(2, 8, conv_cfg=dict(type=FACTOR)))) == 4
    x = torch.rand(1, 3, 8, 8)
    for network in (dense, CIFARResNet(8, conv_cfg=dict(type=GROUP, group_size=4))):
        assert torch.isfinite(network(x)[0]).all()


@pytest.mark.parametrize(
    'make',
    [
        lambda cfg: CIFARVGG(11, conv_cfg=dict(cfg, norm_behind=True), num_plain=2),
        lambda cfg: CIFARResNet(8, conv_cfg=cfg),
        lambda cfg: EDSR(2, 8, conv_cfg=cfg),
        lambda cfg: SRResNet(2, 8, conv_cfg=cfg),
    ],
)
def test_networks_of_factors_train(make):
    """No layer writes over what another one needs for its backward pass."""
    network = make(dict(type=FACTOR))
    out = network(torch.rand(2, 3, 32, 32))
    (out[0] if isinstance(out, tuple) else out).square().mean().backward()
    assert all(p.grad is not None for p in network.parameters() if p.requires_grad)


def test_srresnet_has_one_slope():
    network = SRResNet(2, 8, conv_cfg=dict(type=FACTOR))
    blocks = network.blocks.parameters()
    assert len([p for p in blocks if p is network.act.weight]) == 1
    assert all(layer.act is network.act for block in network.blocks for layer in block.conv1)
    assert not any(isinstance(part, nn.ReLU) for part in network.modules())


def test_widths_of_single_convolutions():
    """VGG "ef" of the filter basis authors."""
    network = CIFARVGG(16, widths=((32, 64), 128, 256, 256, 256))
    assert network.stage1.conv1.out_channels == 32
    assert network.stage2.conv1.in_channels == network.stage1.conv2.out_channels == 64
