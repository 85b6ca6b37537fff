"""The authors' DCFF, restated literally: layers, rule and CIFAR ResNet, slow and in float64.

Nothing of mmcompress is used. What is ascending here (rows of proxies) is in another order in the
authors' program, which relabels channels.
"""

import importlib.util
import math
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

_spec = importlib.util.spec_from_file_location('literal', Path(__file__).parents[1] / 'literal.py')
literal = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(literal)


class Fuse(nn.Module):
    """A convolution with ``P W``."""

    def __init__(self, n, kept, stride, shape):
        super().__init__()
        self.n, self.kept, self.stride = n, kept, stride
        self.weight = nn.Parameter(torch.zeros(shape, dtype=torch.float64))
        self.proxies = None
        self.score = None

    def fuse(self, epoch, epochs):
        """Proxies of the most important filters; scores that are not finite change nothing."""
        rows = self.weight.detach().reshape(self.n, -1)
        start, end, k = 1, 10000, 1
        a = 2 * (end - start) * (1 + math.exp(-k * epochs)) / (1 - math.exp(-k * epochs))
        t = 1 / (a / (1 + math.exp(-k * epoch)) + start - a / 2)
        distance = (rows[:, None] - rows[None]).pow(2).sum(dim=2).sqrt()
        p = torch.softmax(-distance / t, dim=1)
        # [j, k, i], as the formula has it: 0 log 0 is NaN.
        divergence = (p[:, None, :] * (p[:, None, :] / (p[None] + 1e-7)).log()).sum(dim=2)
        score = divergence.sum(dim=1)
        if self.score is None or score.isfinite().all():
            self.score = score
        chosen = sorted(sorted(range(self.n), key=lambda j: -float(self.score[j]))[: self.kept])
        self.chosen = chosen
        self.proxies = p[chosen]

    def forward(self, x):
        weight = (self.proxies @ self.weight.reshape(self.n, -1)).reshape(
            -1, *self.weight.shape[1:]
        )
        return F.conv2d(x, weight, stride=self.stride, padding=1)


class Block(nn.Module):
    def __init__(self, before, planes, inner, kept, stride):
        super().__init__()
        self.conv1 = Fuse(planes, inner, stride, (planes, before, 3, 3))
        self.bn1 = nn.BatchNorm2d(inner).double()
        self.conv2 = Fuse(planes, kept, 1, (planes, inner, 3, 3))
        self.bn2 = nn.BatchNorm2d(kept).double()
        self.more = None if stride == 1 and before == kept else kept - before
        self.stride = stride

    def forward(self, x):
        out = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        if self.more is not None:
            x = x[:, :, :: self.stride, :: self.stride]
            front = self.more // 2
            x = F.pad(x, (0, 0, 0, 0, front, self.more - front), 'constant', 0)
        return (out + x).relu()


class ResNet(nn.Module):
    """``rates``: one for the first convolution of each block, then one for each stage."""

    def __init__(self, blocks, rates):
        super().__init__()
        streams = [int(16 * 2**i * (1 - rate)) for i, rate in enumerate(rates[-3:])]
        self.conv1 = Fuse(16, streams[0], 1, (16, 3, 3, 3))
        self.bn1 = nn.BatchNorm2d(streams[0]).double()
        before = streams[0]
        for stage in range(3):
            planes, layers = 16 * 2**stage, []
            for index in range(blocks):
                inner = int(planes * (1 - rates[stage * blocks + index]))
                stride = 2 if stage and not index else 1
                layers.append(Block(before, planes, inner, streams[stage], stride))
                before = streams[stage]
            self.add_module(f'layer{stage + 1}', nn.Sequential(*layers))
        self.fc = nn.Linear(before, 10).double()

    def fuse(self, epoch, epochs):
        for layer in self.modules():
            if isinstance(layer, Fuse):
                layer.fuse(epoch, epochs)

    def forward(self, x):
        x = self.bn1(self.conv1(x)).relu()
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(x.mean(dim=(2, 3)))


def names(theirs):
    """The names that mmcompress has for the parameters and buffers of a :class:`ResNet`."""
    return {
        name: name.replace('fc.', 'head.fc.') if name.startswith('fc') else f'backbone.{name}'
        for name in theirs
    }


# Fifty steps of training


def theirs(start, batches, held_out, epochs, rates):
    """Their loop: filters are fused in front of each epoch, the rate drops to a tenth at the third.

    Returns:
        The losses of all steps, and all tensors at the end by the names that mmcompress has.
    """
    network = ResNet(1, rates)
    with torch.no_grad():
        literal.take(network, start)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    losses = literal.train(
        network, optimizer, batches, epochs, before_epoch=lambda epoch: network.fuse(epoch, epochs)
    )
    state = network.state_dict()
    return losses, {literal.own_name(name): tensor for name, tensor in state.items()}


def case(rates):
    """Ours, with the same rates: one for the first convolution of a block, one for each stage."""
    keep = {f'backbone.layer{i + 1}.0.conv1_*': 1 - rate for i, rate in enumerate(rates[:3])}
    streams = ('backbone.conv1_*', 'backbone.layer2.0.conv2_*', 'backbone.layer3.0.conv2_*')
    keep.update({name: 1 - rate for name, rate in zip(streams, rates[3:], strict=True)})
    config = dict(
        type='mmcompress.DCFF',
        architecture=dict(type='DigitsNet', backbone=dict(type='mmcompress.CIFARResNet', depth=8)),
        target_pruning_ratio=keep,
        faithful=True,
    )
    return dict(
        config=config,
        optimizer=dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=5e-4),
        theirs=lambda *args: theirs(*args, rates),
    )


CASES = {
    'every layer narrower': case([0.5, 0.3, 0.25, 0.4, 0.2, 0.5]),
    'some of full width': case([0.5, 0.0, 0.25, 0.0, 0.2, 0.0]),
}
_NOT_ALL = dict(channel_unit_cfg=dict(default_args=dict(fuse_all=False)))
DEPARTURES = {
    'fuse_all=False': ('some of full width', dict(mutator_cfg=_NOT_ALL)),
}
