"""The authors' filter basis, restated literally: groups of channels one after another, and a loop.

Nothing of mmcompress is used.
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

#: Channels and number of the filters of each stage's basis.
SIZES = {1: (8, 6), 2: (16, 12), 3: (32, 24)}


def stage_of(name):
    """The first convolution of a stage reads with the basis of the stage before."""
    stage, first = int(name[5]), name.endswith('.0.conv1')
    return max(stage - first, 1)


class Conv(nn.Module):
    """The basis over slices of the channels, its maps side by side, and a 1x1 convolution."""

    def __init__(self, basis, before, width, stride, between):
        super().__init__()
        number, self.size = basis.shape[:2]
        self.basis, self.stride = basis, stride
        maps = before // self.size * number
        self.basis_bias = None if between else nn.Parameter(torch.zeros(number))
        self.norm = nn.BatchNorm2d(maps) if between else nn.Identity()
        self.act = nn.ReLU() if between else nn.Identity()
        self.coefficients = nn.Parameter(torch.zeros(width, maps, 1, 1))
        self.bias = None if between else nn.Parameter(torch.zeros(width))

    def forward(self, x):
        maps = [
            F.conv2d(x[:, i : i + self.size], self.basis, self.basis_bias, self.stride, 1)
            for i in range(0, x.shape[1], self.size)
        ]
        maps = self.act(self.norm(torch.cat(maps, 1)))
        return F.conv2d(maps, self.coefficients, self.bias)


def theirs(start, batches, held_out, epochs, between):
    bases, owners = {}, {}

    def conv(name, before, width, stride):
        stage = stage_of(name)
        if stage not in bases:
            owners[stage] = literal.own_name(f'{name}.shared_basis')
            size, number = SIZES[stage]
            bases[stage] = nn.Parameter(torch.zeros(number, size, 3, 3, dtype=torch.float64))
        return Conv(bases[stage], before, width, stride, between)

    def shortcut(before, width, stride):
        return literal.Pad(width - before, stride, pool=True)

    network = literal.ResNet(conv, 1, shortcut).double()
    names = {}
    for name in network.state_dict():
        if name.endswith('.basis'):
            names[name] = owners[stage_of(name.removesuffix('.basis'))]
        else:
            names[name] = literal.own_name(name)
    network.load_state_dict({name: start[own] for name, own in names.items()})
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    losses = literal.train(network, optimizer, batches, epochs)
    state = network.state_dict()
    assert math.isfinite(losses[-1])
    return losses, {own: state[name] for name, own in names.items()}


def case(between):
    layers = [f'backbone.layer{i}.0.conv{j}' for i in (1, 2, 3) for j in (1, 2)]
    units = {
        f'basis{stage}': dict(
            layers=[name for name in layers if stage_of(name.removeprefix('backbone.')) == stage],
            init_args=dict(basis_size=size, num_filters=number),
        )
        for stage, (size, number) in SIZES.items()
    }
    args = dict(basis_bias=True, coefficient_bias=True)
    if between:
        args = dict(norm_cfg=dict(type='BN'), act_cfg=dict(type='ReLU'))
    backbone = dict(type='mmcompress.CIFARResNet', depth=8, shortcut='pool')
    return dict(
        config=dict(
            type='mmcompress.FilterBasis',
            architecture=dict(type='DigitsNet', backbone=backbone),
            mutator_cfg=dict(
                type='FilterBasisMutator', filter_unit_cfg=dict(default_args=args, units=units)
            ),
            faithful=True,
        ),
        optimizer=dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=1e-4),
        theirs=lambda *given: theirs(*given, between),
    )


CASES = {'ResNet': case(False), 'norm and activation between': case(True)}
_PAD = dict(architecture=dict(backbone=dict(shortcut='pad')))
DEPARTURES = {"shortcut='pad'": ('ResNet', _PAD)}
