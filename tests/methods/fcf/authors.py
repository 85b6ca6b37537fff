"""The authors' FCF, restated literally: layers, ADMM around each step, and both loops.

One convolution multiplies its weight by ``diag(v)``. Before the optimizer moves, each layer for
itself projects, and adds ADMM's gradient to that of the loss; behind it, duals and penalty move.
Fine-tuning walks over the convolutions of blocks in order, and zeros the filters of each whose v is
below 0.1, and the inputs that the one before has lost. Nothing of mmcompress is used.
"""

import importlib.util
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

_spec = importlib.util.spec_from_file_location('literal', Path(__file__).parents[1] / 'literal.py')
literal = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(literal)

SETTING = dict(rho=0.05, rho_max=1.0, mu=1.1, alpha=0.7)


class Conv(nn.Conv2d):
    """``diag(v) W``, by a product of matrices."""

    def __init__(self, name, before, width, stride):
        super().__init__(before, width, 3, stride, padding=1, bias=False)
        self.v = nn.Parameter(torch.ones(width))

    def forward(self, x):
        rows = torch.diag(self.v) @ self.weight.view(self.out_channels, -1)
        return F.conv2d(x, rows.view_as(self.weight), None, self.stride, self.padding)


def bisected(x, k):
    """The nearest point of ``{0 <= z <= 1, sum z = k}``."""
    low, high = x.min() - 1, x.max()
    for _ in range(100):
        tau = (low + high) / 2
        low, high = (tau, high) if (x - tau).clamp(0, 1).sum() > k else (low, tau)
    return (x - high).clamp(0, 1)


class ADMM:
    """What one layer keeps, and does around each step."""

    def __init__(self, layer, k, rho, rho_max, mu, alpha):
        self.layer, self.k, self.alpha = layer, k, alpha
        self.rho, self.rho_max, self.mu = rho, rho_max, mu
        self.y1 = torch.zeros_like(layer.v.detach())
        self.y2 = self.y1.clone()

    def before(self):
        v, n = self.layer.v.detach().clone(), len(self.layer.v)
        self.z1 = bisected(v + self.y1 / self.rho, self.k)
        shifted = v + self.y2 / self.rho - 0.5
        self.z2 = n**0.5 / 2 * shifted / shifted.norm() + 0.5
        g = self.y1 + self.y2 + self.rho * (2 * v - self.z1 - self.z2)
        self.layer.v.grad = self.alpha * g + (1 - self.alpha) * self.layer.v.grad

    def after(self):
        v = self.layer.v.detach()
        self.y1 = self.y1 + self.rho * (v - self.z1)
        self.y2 = self.y2 + self.rho * (v - self.z2)
        if self.rho < self.rho_max:
            self.rho = self.mu * self.rho


def network_of(start):
    network = literal.ResNet(Conv, 1, literal.projection).double()
    with torch.no_grad():
        literal.take(network, start)
    return network, [layer for layer in network.modules() if isinstance(layer, Conv)]


def end_of(network):
    return {literal.own_name(name): tensor for name, tensor in network.state_dict().items()}


def factorize(start, batches, held_out, epochs):
    """Stage 1: plain SGD, ADMM around each of its steps."""
    network, layers = network_of(start)
    admm = [ADMM(layer, int(layer.out_channels * (1 - 0.25)), **SETTING) for layer in layers]
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    losses = literal.train(
        network,
        optimizer,
        batches,
        epochs,
        before_step=lambda _: [layer.before() for layer in admm],
        after_step=lambda _: [layer.after() for layer in admm],
    )
    # Rows of ours are padded to the longest.
    duals = {
        f'admm.{name}': nn.utils.rnn.pad_sequence([getattr(layer, name) for layer in admm], True)
        for name in ('y1', 'y2', 'z1', 'z2')
    }
    return losses, {**end_of(network), **duals, 'admm.rho': torch.tensor(admm[0].rho).double()}


def zero(layers, removed):
    """Filters that are removed, and the inputs that the convolution before has lost."""
    before = []
    with torch.no_grad():
        for layer, gone in zip(layers, removed, strict=True):
            layer.weight[:, before] = 0
            layer.weight[gone] = 0
            before = gone


def finetune(start, batches, held_out, epochs, choose):
    """Stage 2: what is left is trained, what was zeroed is zeroed again behind each step."""
    network, layers = network_of(start)
    removed = [choose(layer.v.detach()) for layer in layers]
    zero(layers, removed)
    for layer in layers:
        layer.v.requires_grad_(False).fill_(1)
    weights = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(weights, lr=0.01, momentum=0.9, weight_decay=1e-2)
    losses = literal.train(
        network, optimizer, batches, epochs, after_step=lambda _: zero(layers, removed)
    )
    # Ours keeps the weights of removed filters, and multiplies them by zero.
    ends = end_of(network)
    return losses, {k: ends[k] for k in ends if '.bn' in k or '.fc' in k or '.shortcut' in k}


def below(v):
    """Their rule."""
    return [j for j in range(len(v)) if float(v[j]) < 0.1]


def all_but_k(v):
    """All but the k of the largest v, the rule of the paper."""
    k = int(len(v) * (1 - 0.25))
    return sorted(range(len(v)), key=lambda j: -float(v[j]))[k:]


def trained(state):
    """As after stage 1: any scalars, of which some are below the threshold, and not a quarter."""
    generator = torch.Generator().manual_seed(1)
    for key, tensor in state.items():
        if key.endswith('.v'):
            tensor.copy_(torch.rand(len(tensor), generator=generator))
    state['started'].fill_(True)
    return state


def dense(state):
    """As after the training of a dense network."""
    return {key: tensor for key, tensor in state.items() if not key.endswith('.v')} | {
        key: torch.ones_like(tensor) for key, tensor in state.items() if key.endswith('.v')
    }


def config(**kwargs):
    backbone = dict(type='mmcompress.CIFARResNet', depth=8, shortcut='projection')
    return dict(
        type='mmcompress.FCF',
        architecture=dict(type='DigitsNet', backbone=backbone),
        target_pruning_ratio=0.75,
        faithful=True,
        **SETTING,
        **kwargs,
    )


FINETUNE = dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=1e-2)
CASES = {
    'stage 1': dict(
        config=config(), given=dense, optimizer=dict(type='SGD', lr=0.1), theirs=factorize
    ),
    'stage 2': dict(
        config=config(stage='finetune'),
        given=trained,
        optimizer=FINETUNE,
        theirs=lambda *args: finetune(*args, below),
    ),
    "stage 2, rounding='exact'": dict(
        config=config(stage='finetune', rounding='exact'),
        given=trained,
        optimizer=FINETUNE,
        theirs=lambda *args: finetune(*args, all_but_k),
    ),
}
DEPARTURES = {
    "scale='output'": ('stage 1', dict(mutator_cfg=dict(scale='output'))),
    "rounding='exact'": ('stage 2', dict(rounding='exact')),
    'cut_inputs=False': ('stage 2', dict(mutator_cfg=dict(cut_inputs=False))),
}
