"""Plain layers as data: built from configs as JSON has them, and mistakes told."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from mmcompress.core.errors import CompressionError
from mmcompress.core.layers.plain import SideBySide, build, conv_layer

CONVS = {
    'plain': dict(),
    'uneven': dict(kernel_size=(1, 5), stride=(2, 1), padding=(0, 2), dilation=(1, 2)),
    'grouped': dict(groups=2, bias=False),
    'same': dict(padding='same'),
    'reflect': dict(padding=1, padding_mode='reflect'),
}


@pytest.mark.parametrize('case', CONVS)
def test_a_convolution_by_its_config(case):
    """After a round trip through JSON it has all settings, and is torch's own class."""
    conv = nn.Conv2d(4, 6, **{'kernel_size': 3, **CONVS[case]})
    config = conv_layer(conv, conv.weight.shape, conv.groups, conv.bias is not None)
    layer = build(json.loads(json.dumps([config])))
    assert type(layer) is nn.Conv2d
    assert repr(layer) == repr(conv)
    layer.load_state_dict(conv.state_dict())
    x = torch.randn(2, 4, 9, 9)
    assert torch.equal(layer(x), conv(x))


def test_several_layers_run_one_after_another():
    config = [
        dict(type='Conv2d', in_channels=3, out_channels=4, kernel_size=1),
        dict(type='ReLU', inplace=True),
        dict(type='Conv2d', in_channels=4, out_channels=2, kernel_size=1, bias=False),
    ]
    layers = build(config)
    assert [type(layer).__name__ for layer in layers] == ['Conv2d', 'ReLU', 'Conv2d']
    x = torch.randn(1, 3, 4, 4)
    assert torch.equal(layers(x), layers[2](layers[0](x).relu()))
    assert config[0]['type'] == 'Conv2d', 'configs are left as they are'


def test_layers_side_by_side():
    """Their channels in order; what comes out of a JSON file is the same module."""
    parts = [
        dict(type='Conv2d', in_channels=4, out_channels=width, kernel_size=1, groups=groups)
        for width, groups in ((2, 2), (3, 1))
    ]
    layer = build(json.loads(json.dumps([dict(type='SideBySide', layers=parts)])))
    assert type(layer) is SideBySide
    x = torch.randn(2, 4, 5, 5)
    first, second = layer
    assert torch.equal(layer(x), torch.cat([first(x), second(x)], 1))
    assert list(layer.state_dict()) == ['0.weight', '0.bias', '1.weight', '1.bias']


@pytest.mark.parametrize(
    'layers',
    [
        None,
        {},
        [],
        'Conv2d',
        [3],
        [dict(in_channels=3)],
        [dict(type='Conv2d', in_channels=3)],
        [dict(type='Conv2d', in_channels=3, out_channels=4, kernel_size=1, groups=2)],
        [dict(type='Conv2d', in_channels=3, out_channels=4, kernel_size=1, x=2)],
        [dict(type='Conv9d', in_channels=3)],
        [dict(type='SideBySide')],
    ],
    ids=str,
)
def test_no_layers(layers):
    with pytest.raises(CompressionError, match='no config of a layer|list of configs of layers'):
        build(layers)
