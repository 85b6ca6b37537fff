"""Weights that a forward pass uses without running their layers."""

import torch.nn.functional as F
from torch import nn

from mmcompress.core.probe.probe import Probe, working_copy
from mmcompress.core.probe.uses import used_elsewhere


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)

    def forward(self, x):
        x = self.b(self.b(self.a(x)))  # twice is no other use
        return self.c(x) * self.a.weight.mean() + F.conv2d(x, self.c.weight)


def test_by_hand():
    model = working_copy(Net())
    assert used_elsewhere(model, Probe(model, (1, 3, 8, 8))) == {'a', 'c'}
