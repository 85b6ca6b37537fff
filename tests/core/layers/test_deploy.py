"""Blocks of branches that are merged for inference."""

import torch
from torch import nn

from mmcompress.core.layers.deploy import blocks_follow, deploy, merged_blocks
from mmcompress.core.layers.narrow import narrow


class Branches(nn.Module):
    """Two branches, and where they are merged a sum of their weights."""

    def __init__(self, width):
        super().__init__()
        self.in_channels = self.out_channels = width
        self.groups = 1
        self.gate = nn.Conv2d(width, 1, 1)
        self.a, self.b = (nn.Conv2d(width, width, 1, bias=False) for _ in range(2))

    def forward(self, x):
        return self.merged(x) if hasattr(self, 'merged') else self.a(x) + self.b(x)

    def switch_to_deploy(self):
        self.merged = nn.Conv2d(self.in_channels, self.out_channels, 1, bias=False)
        self.merged.weight.data = self.a.weight.data + self.b.weight.data
        del self.a, self.b


class Outer(nn.Sequential):
    def switch_to_deploy(self):
        for block in self:
            block.switch_to_deploy()


class Asks(nn.Conv2d):
    """What wants to know more is not for us to call, nor is a single layer a block."""

    def switch_to_deploy(self, test_cfg):
        raise AssertionError


def test_widths_follow():
    model = nn.Sequential(Branches(4), Asks(4, 4, 1))
    assert merged_blocks(model) == {'0': '0.a'}
    keep = torch.tensor([0, 2, 3])
    with blocks_follow(model):
        for layer in (model[0].a, model[0].b):
            narrow(layer, keep, keep[:2])
    assert (model[0].in_channels, model[0].out_channels, model[0].groups) == (3, 2, 1)
    x = torch.randn(1, 3, 2, 2)
    before = model[0](x)
    assert deploy(model) == ['0']
    assert model[0].merged.weight.shape == (2, 3, 1, 1)
    torch.testing.assert_close(model[0](x), before)


def test_what_is_around_blocks_merges_them():
    model = nn.Sequential(Outer(Branches(2), Branches(2)), Branches(2))
    assert deploy(model) == ['0', '1']
    assert all(hasattr(block, 'merged') for block in (*model[0], model[1]))
    assert deploy(nn.Sequential(nn.ReLU())) == []
