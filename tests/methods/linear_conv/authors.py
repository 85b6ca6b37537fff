"""The authors' LinearConv, restated literally: layers of all variants, losses and the loop.

Nothing of mmcompress is used.
"""

import importlib.util
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

_spec = importlib.util.spec_from_file_location('literal', Path(__file__).parents[1] / 'literal.py')
literal = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(literal)

INTERVAL, STEP, TARGET = 7, 0.02, 0.4  # of masks
#: Channels, filters, kernel, stride, groups.
KINDS = ((3, 8, 3, 1, 1), (8, 12, 3, 2, 2), (12, 12, 3, 1, 12), (12, 16, 1, 1, 1))


class Conv(nn.Module):
    """A layer of n filters: n // 2 of its own, sums of all of these, a mask now and then."""

    def __init__(self, c, n, k, stride, groups, variant):
        super().__init__()
        self.settings = dict(padding=k // 2, stride=stride, groups=groups)
        self.variant = variant
        half = n // 2
        self.primary = nn.Parameter(torch.zeros(half, c // groups, k, k))
        if variant in ('linear', 'sparse'):
            self.combination = nn.Parameter(torch.zeros(n - half, half))
        else:
            rank = 2 if variant == 'lowrank' else int(half * 0.4)
            self.left = nn.Parameter(torch.zeros(n - half, rank))
            self.right = nn.Parameter(torch.zeros(rank, half))
        self.bias = nn.Parameter(torch.zeros(n))
        self.count, self.threshold = 0, 0.0
        self.mask = torch.ones(n - half, half)

    def look(self):
        """In every pass, of evaluation too."""
        self.count += 1
        if self.count == INTERVAL:
            self.count = 0
            self.mask = (self.combination.detach().abs() > self.threshold).double()
            zeros = 1 - self.mask.sum().item() / self.mask.numel()
            self.threshold += (2 / (1 + 10 ** (10 * (zeros - TARGET))) - 1) * STEP

    def forward(self, x):
        if self.variant == 'sparse':
            self.look()
            sums = self.combination * self.mask
        elif self.variant == 'linear':
            sums = self.combination
        else:
            sums = self.left @ self.right
        others = torch.einsum('ij,jckl->ickl', sums, self.primary)
        return F.conv2d(x, torch.cat([self.primary, others]), self.bias, **self.settings)


class Network(nn.Module):
    def __init__(self, variant):
        super().__init__()
        for index, kind in enumerate(KINDS, start=1):
            self.add_module(f'conv{index}', Conv(*kind, variant))
            self.add_module(f'bn{index}', nn.BatchNorm2d(kind[1]))
        self.fc = nn.Linear(16, 10)

    def forward(self, x):
        for index in range(1, len(KINDS) + 1):
            x = getattr(self, f'bn{index}')(getattr(self, f'conv{index}')(x)).relu()
        return self.fc(x.mean(dim=(2, 3)))

    def similarity(self):
        loss = 0
        for layer in self.modules():
            if isinstance(layer, Conv):
                rows = layer.primary.flatten(1)
                loss = loss + 0.01 * (torch.corrcoef(rows) - torch.eye(len(rows))).abs().sum()
                if layer.variant == 'sparse':
                    loss = loss + 0.01 * layer.combination.abs().sum()
        return loss


def theirs(start, batches, held_out, epochs, variant):
    network = Network(variant).double()
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            # Of one set of filters, whatever the groups.
            tensor.copy_(start[literal.own_name(name)].reshape(tensor.shape))
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)

    def evaluate(_):
        network.eval()
        with torch.no_grad():
            for images, _ in held_out:
                network(images)

    losses = literal.train(
        network,
        optimizer,
        batches,
        epochs,
        extra=lambda step: network.similarity() if step % 10 == 9 else 0,
        after_epoch=evaluate,
    )
    ends = {}
    for name, tensor in network.state_dict().items():
        # The gradient of a bias in front of a norm is rounding, which Adam enlarges.
        if not (name.startswith('conv') and name.endswith('bias')) and 'running_mean' not in name:
            one_set = name.endswith(('combination', 'left', 'right'))
            ends[literal.own_name(name)] = tensor[None] if one_set else tensor
    for name, layer in network.named_modules():
        if isinstance(layer, Conv) and variant == 'sparse':
            assert 0 < layer.mask.mean() < 1
            ends[literal.own_name(f'{name}.mask')] = layer.mask[None]
            ends[literal.own_name(f'{name}.threshold')] = torch.tensor(layer.threshold).double()
    return losses, ends


def case(variant, masks=None, **settings):
    unit = dict(default_args=dict(variant=variant, **settings))
    return dict(
        config=dict(
            type='mmcompress.LinearConv',
            architecture=dict(
                type='DigitsNet', backbone=dict(type='mmengine.EveryKind'), channels=16
            ),
            mutator_cfg=dict(type='LinearConvMutator', filter_unit_cfg=unit),
            faithful=True,
            **(masks or {}),
        ),
        optimizer=dict(type='Adam', lr=1e-3),
        theirs=lambda *given: theirs(*given, variant),
    )


CASES = {
    'linear': case('linear'),
    'lowrank': case('lowrank', rank=2),
    'rankratio': case('rankratio', rank_ratio=0.4),
    'sparse': case(
        'sparse', dict(mask_interval=INTERVAL, threshold_step=STEP), target_sparsity=TARGET
    ),
}
DEPARTURES = {'count_evaluation=False': ('sparse', dict(count_evaluation=False))}
