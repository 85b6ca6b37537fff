"""A clock that is made up, so that what is right is known.

A layer takes time in proportion to its channels rounded up to multiples of 16, and a network some
more than its layers.
"""

import itertools
import math

from torch import nn

from mmcompress.core.layers.narrow import channels_of
from mmcompress.core.probe.shapes import shapes_in
from mmcompress.latency.works import describe

SHAPE = (3, 16, 16)
#: How much longer a network takes than its layers do by themselves, and what else it does.
SLOWER, REST = 1.4, 0.4


def steps(width, step=16):
    return math.ceil(width / step) * step


def time_of(layer, ins, outs, step=16):
    """Milliseconds of one layer."""
    positions = math.prod(
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, s, p, d in zip(
            *(layer[name] for name in ('size', 'kernel', 'stride', 'padding', 'dilation')),
            strict=True,
        )
    )
    each = math.prod(layer['kernel']) * positions * 1e-7
    if layer['depthwise']:
        return each * steps(outs, step)
    return each * steps(ins, step) * steps(outs, step) / layer['groups']


def time_of_network(model):
    """Milliseconds of a whole network."""
    layers = {n: m for n, m in model.named_modules() if isinstance(m, (nn.Conv2d, nn.Linear))}
    total = 0.0
    for name, pairs in shapes_in(model, layers, (1, *SHAPE)).items():
        for taken, _ in pairs:
            total += time_of(describe(layers[name], taken, False), *channels_of(layers[name]))
    return SLOWER * total + REST


class Chain(nn.Module):
    """Layers that follow each other, of different sizes."""

    def __init__(self):
        super().__init__()
        widths = [3, 64, 128, 128, 256]
        self.layers = nn.ModuleList(
            nn.Conv2d(a, b, 3, 1 + index % 2, 1)
            for index, (a, b) in enumerate(itertools.pairwise(widths))
        )
        self.head = nn.Conv2d(256, 4, 1)

    def forward(self, x):
        for layer in self.layers:
            x = layer(x).relu()
        return self.head(x)
