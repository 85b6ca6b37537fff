"""The authors' shared bases, restated literally: layers, the loss of each program, and the loop.

Nothing of mmcompress is used.
"""

import importlib.util
from pathlib import Path

import torch
from torch import nn

_spec = importlib.util.spec_from_file_location('literal', Path(__file__).parents[1] / 'literal.py')
literal = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(literal)

#: Shared and unique filters of the first stage; the others have 2 and 4 times as many.
SHARED, UNIQUE = 4, 1


class Conv(nn.Module):
    """Maps ``[unique; shared]``, a norm, and 1x1 coefficients."""

    def __init__(self, shared, unique, width):
        super().__init__()
        self.shared = shared
        self.unique = nn.Conv2d(width, unique, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(unique + len(shared.weight))
        self.coefficients = nn.Conv2d(unique + len(shared.weight), width, 1, bias=False)

    def forward(self, x):
        return self.coefficients(self.norm(torch.cat([self.unique(x), self.shared(x)], 1)))


class Network(literal.ResNet):
    """The blocks of a stage but the first share filters; ``double``: first and second layers."""

    def __init__(self, double):
        def conv(name, before, width, stride):
            stage, block, position = name.split('.')
            if block == '0':
                return nn.Conv2d(before, width, 3, stride, padding=1, bias=False)
            factor = 2 ** (int(stage[5:]) - 1)
            key = stage, position if double else ''
            if key not in bases:
                owners[key] = name
                bases[key] = nn.Conv2d(width, SHARED * factor, 3, padding=1, bias=False)
            return Conv(bases[key], UNIQUE * factor, width)

        bases, owners = {}, {}
        super().__init__(conv, 2, lambda before, width, stride: literal.Pad(width - before, stride))
        self.owners = {bases[key].weight: name for key, name in owners.items()}

    def similarity(self, unique):
        """All bases of a stage and, if asked for, its unique filters as rows of one ``B``."""
        total, count = 0, 0
        for stage in (self.layer1, self.layer2, self.layer3):
            layers = [layer for layer in stage.modules() if isinstance(layer, Conv)]
            shared = list(dict.fromkeys(layer.shared.weight for layer in layers))
            rows = torch.cat([weight.flatten(1) for weight in shared])
            own = [layer.unique.weight.flatten(1) for layer in layers] if unique else []
            against = torch.cat([rows, *own])
            entries = rows @ against.T - torch.eye(len(rows), len(against))
            total, count = total + (entries**2).sum(), count + entries.numel()
            for mine in own:
                entries = mine @ mine.T - torch.eye(len(mine))
                total, count = total + (entries**2).sum(), count + entries.numel()
        return total / count

    def tensors(self):
        """Ours, each with the function that takes it into the order of theirs."""
        for name, module in self.named_modules():
            own = literal.own_name(name)
            if not isinstance(module, Conv):
                inside = isinstance(module, (nn.Conv2d, nn.BatchNorm2d, nn.Linear))
                if inside and not any(part in name.split('.') for part in PARTS):
                    for key, tensor in module.state_dict().items():
                        yield f'{own}.{key}', tensor, None
                continue
            rank = len(module.shared.weight)
            yield f'{own}.unique_basis', module.unique.weight, None
            owner = literal.own_name(self.owners[module.shared.weight])
            yield f'{owner}.shared_basis', module.shared.weight, None
            yield f'{own}.coefficients', module.coefficients.weight, (rank, 1)
            for key, tensor in module.norm.state_dict().items():
                yield f'{own}.norm.{key}', tensor, (rank, 0) if tensor.dim() else None


PARTS = ('shared', 'unique', 'norm', 'coefficients')


def turned(tensor, rank, dim):
    """``[unique; shared]`` of ``[shared; unique]``, where ``rank`` maps come first."""
    return tensor.roll(-rank, dim)


def theirs(start, batches, held_out, epochs, double, unique):
    network = Network(double).double()
    with torch.no_grad():
        for name, tensor, order in network.tensors():
            tensor.copy_(turned(start[name], *order) if order else start[name])
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    losses = literal.train(
        network, optimizer, batches, epochs, extra=lambda _: 10 * network.similarity(unique)
    )
    ends = {}
    for name, tensor, order in network.tensors():
        # Back: as many maps as are not shared come first.
        back = order and (tensor.shape[order[1]] - order[0], order[1])
        ends[name] = turned(tensor, *back) if back else tensor
    return losses, ends


def case(double, unique, **options):
    units = {
        f'backbone.layer{i + 1}*': dict(
            init_args=dict(shared_rank=SHARED * 2**i, unique_rank=UNIQUE * 2**i)
        )
        for i in range(3)
    }
    return dict(
        config=dict(
            type='mmcompress.SharedBasis',
            architecture=dict(
                type='DigitsNet', backbone=dict(type='mmcompress.CIFARResNet', depth=14)
            ),
            mutator_cfg=dict(
                type='SharedBasisMutator',
                parse_cfg=dict(rule='stage', skip_first_block=True, by_position=double),
                filter_unit_cfg=dict(default_args=dict(norm_cfg=dict(type='BN')), units=units),
            ),
            faithful=True,
            **options,
        ),
        optimizer=dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=5e-4),
        theirs=lambda *given: theirs(*given, double, unique),
    )


_ALONE = dict(orthogonality_terms=dict(unique=False))
CASES = {
    'Single, CIFAR-10': case(double=False, unique=True),
    'Double, CIFAR-10': case(double=True, unique=True),
    'Single, CIFAR-100': case(double=False, unique=False, **_ALONE),
    'Double, ImageNet': case(double=True, unique=False, **_ALONE),
}
DEPARTURES = {
    'unique=False': ('Single, CIFAR-10', _ALONE),
    'joint=False': ('Double, CIFAR-10', dict(orthogonality_terms=dict(joint=False))),
    "joint='separate'": (
        'Double, CIFAR-10',
        dict(orthogonality_terms=dict(unique='cross', joint='separate')),
    ),
}
