"""SRResNet: published counts, shapes, activations."""

import pytest
import torch
from torch import nn

from mmcompress.models import SRResNet
from mmcompress.registry import MODELS


def size(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize('act_last', [False, True])
def test_published_counts(act_last):
    with torch.device('meta'):
        network = SRResNet(num_blocks=16, width=64, scale=4, act_last=act_last)
    assert size(network) == 1535622
    assert size(network.blocks[0]) == 74113


@pytest.mark.parametrize(('scale', 'slopes'), [(2, 2), (3, 2), (4, 3)])
def test_shapes_and_slopes(scale, slopes):
    """One PReLU for head and blocks, one for each step of the upsampler."""
    network = SRResNet(num_blocks=2, width=4, scale=scale)
    assert network(torch.rand(2, 3, 5, 7)).shape == (2, 3, 5 * scale, 7 * scale)
    assert sum(isinstance(m, nn.PReLU) for m in network.modules()) == slopes
    assert network.blocks[0].act is network.blocks[1].act is network.act


def test_the_last_activation():
    first, last = SRResNet(1, 4, 2).eval(), SRResNet(1, 4, 2, act_last=True).eval()
    last.load_state_dict(first.state_dict())
    x = torch.rand(1, 4, 5, 5)
    residual = first.blocks(x) - x
    assert (residual < 0).any()
    expected = torch.where(residual < 0, 0.25 * residual, residual)
    torch.testing.assert_close(last.blocks(x) - x, expected)


def test_error():
    with pytest.raises(ValueError, match=r'scale=1 is unknown; valid: \(2, 3, 4, 8\)'):
        SRResNet(scale=1)


def test_is_registered():
    assert isinstance(MODELS.build(dict(type='mmcompress.SRResNet', width=4)), SRResNet)
