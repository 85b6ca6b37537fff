"""Scalars in front of the norm, as the authors have them, against a transcription of theirs.

One convolution multiplies its weight by ``diag(v)`` and leaves its bias alone. Before the optimizer
moves, each layer for itself projects, and adds ADMM's gradient to that of the loss; behind it,
duals and penalty move. Nothing here is of the package but the network that is trained.
"""

import copy

import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import nn

from mmcompress.core import CompressionError
from mmcompress.core.channels.gate import Gate
from mmcompress.core.export.static import to_static
from mmcompress.methods.fcf import FactorizedConv2d

CLOSE = dict(rtol=0, atol=1e-9)


class LiteralConv(nn.Conv2d):
    """``diag(v) W``, by a product of matrices."""

    def forward(self, x):
        rows = torch.diag(self.v) @ self.weight.view(self.out_channels, -1)
        return F.conv2d(x, rows.view_as(self.weight), self.bias, self.stride, self.padding)


def fcf(architecture, ratio=0.75, **kwargs):
    mutator = dict(dict(type='FCFMutator', scale='weight'), **kwargs.pop('mutator', {}))
    return MODELS.build(
        dict(
            type='mmcompress.FCF',
            architecture=architecture,
            mutator_cfg=mutator,
            target_pruning_ratio=ratio,
            **kwargs,
        )
    )


def batches(count, size=16):
    generator = torch.Generator().manual_seed(3)
    for _ in range(count):
        images = torch.randn(8, 3, size, size, generator=generator, dtype=torch.float64)
        yield images, torch.randint(10, (8,), generator=generator)


@pytest.mark.parametrize('bias', [False, True])
def test_the_layer(bias):
    """Outputs and all gradients; the bias is left alone, with v or without."""
    conv = nn.Conv2d(6, 8, 3, stride=2, padding=1, bias=bias).double()
    literal = copy.deepcopy(conv)
    literal.__class__ = LiteralConv
    literal.v = nn.Parameter(torch.linspace(-0.2, 1.2, 8, dtype=torch.float64))
    op = FactorizedConv2d(conv)
    op.scales_bias = False
    op.v.data = literal.v.detach().clone()
    x = torch.randn(2, 6, 9, 7, dtype=torch.float64)
    expected, found = literal(x), op(x)
    torch.testing.assert_close(found, expected, **CLOSE)
    names = ['v', 'weight'] + (['bias'] if bias else [])
    one, other = (
        torch.autograd.grad(out.square().sum(), [getattr(layer, n) for n in names])
        for layer, out in ((literal, expected), (op, found))
    )
    for left, right in zip(one, other, strict=True):
        torch.testing.assert_close(left, right, **CLOSE)


def test_norms_are_as_they_were(classifier_cfg):
    algorithm = fcf(classifier_cfg())
    assert not any(isinstance(m, Gate) for m in algorithm.modules())
    assert sum(isinstance(m, FactorizedConv2d) for m in algorithm.modules()) == 6


def test_a_batch_norm_cancels_v(classifier_cfg):
    """Why it is not the default: the loss says next to nothing about v."""
    torch.manual_seed(0)
    images, labels = next(batches(1))
    sizes = {}
    for scale in ('weight', 'output'):
        algorithm = fcf(classifier_cfg(), mutator=dict(scale=scale)).double().train()
        F.cross_entropy(algorithm.architecture(images, mode='tensor'), labels).backward()
        sizes[scale] = max(float(v.grad.abs().max()) for v in algorithm.scalars)
    assert sizes['weight'] < 1e-3 * sizes['output']


def randomized(algorithm, seed=0):
    """Statistics and biases as after training, and scalars for any choice."""
    torch.manual_seed(seed)
    for module in algorithm.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.3)
            nn.init.normal_(module.running_mean, std=0.3)
        if isinstance(module, FactorizedConv2d):
            nn.init.uniform_(module.v)
            if module.bias is not None:
                nn.init.normal_(module.bias)
    algorithm.binarize()
    return algorithm


def test_a_removed_filter_puts_out_the_bias_of_its_norm(classifier_cfg):
    """Also in the exported network, whose norms are as wide as they were."""
    algorithm = randomized(fcf(classifier_cfg(), ratio=0.5).double()).eval()
    static = to_static(algorithm)
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    seen = {}
    for key, model in dict(trained=algorithm.architecture, exported=static).items():
        block = model.backbone.layer2[0]
        block.bn2.register_forward_hook(lambda m, i, out, key=key: seen.update({key: out}))
        model(x)
    torch.testing.assert_close(seen['exported'], seen['trained'], rtol=0, atol=1e-10)
    unit = algorithm.mutator.units['backbone.layer2.0.conv2_(0, 32)_32']
    gone = unit.op.v == 0
    constant = seen['trained'][:, gone]
    assert torch.equal(constant, constant[:1, :, :1, :1].expand_as(constant))
    assert constant.abs().min() > 0
    assert static.backbone.layer2[0].bn2.num_features == 32


class Biased(nn.Module):
    """Convolutions with biases, batch norms behind them, and a sum."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6))
        self.one = nn.Sequential(nn.Conv2d(6, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.two = nn.Sequential(nn.Conv2d(8, 6, 3, padding=1), nn.BatchNorm2d(6))
        self.bare = nn.Conv2d(6, 5, 1)

    def forward(self, x):
        x = self.stem(x)
        x = x + self.two(self.one(x))
        return self.bare(x)


def test_biases_in_front_of_norms():
    """What the norm sees of a removed filter is its bias, which its mean takes away."""
    from mmengine.model import BaseModel

    class Net(BaseModel):
        def __init__(self):
            super().__init__()
            self.backbone = Biased()
            self.head = nn.Conv2d(5, 4, 1)

        def forward(self, inputs, data_samples=None, mode='tensor'):
            return self.head(self.backbone(inputs))

    algorithm = fcf(Net(), ratio=0.5).double()
    names = [unit.config.producers[0].name for unit in algorithm.mutator.units.values()]
    assert names == ['backbone.one.0', 'backbone.two.0']
    why = {name.split('_(')[0]: text for name, text in algorithm.mutator.refused.items()}
    assert why['backbone.bare'].startswith('backbone.bare has a bias and no batch norm behind it')
    randomized(algorithm)
    static = to_static(algorithm).double()
    x = torch.randn(3, 3, 9, 9, dtype=torch.float64)
    for mode in (False, True):
        one, other = algorithm.architecture.train(mode)(x), static.train(mode)(x)
        torch.testing.assert_close(other, one, rtol=0, atol=1e-10)
    assert static.backbone.one[0].layer.out_channels == 4


def test_it_needs_scalars_of_filters(classifier_cfg):
    with pytest.raises(
        CompressionError, match=r"mutator_cfg.scale is 'weight' and scope is 'unit'"
    ):
        fcf(classifier_cfg(), mutator=dict(scope='unit'))
    with pytest.raises(CompressionError, match=r"mutator_cfg.scale is 'norm'"):
        MODELS.build(dict(type='FCFMutator', scale='norm', _scope_='mmcompress'))
