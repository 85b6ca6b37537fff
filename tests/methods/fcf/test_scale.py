"""Scalars in front of the norm, as the authors have them, against a transcription of theirs.

One convolution multiplies its weight by ``diag(v)`` and leaves its bias alone. Before the optimizer
moves, each layer for itself projects, and adds ADMM's gradient to that of the loss; behind it,
duals and penalty move. Nothing here is of the package but the network that is trained.
"""

import copy

import pytest
import torch
import torch.nn.functional as F
from mmengine.optim import OptimWrapper
from mmengine.registry import MODELS
from torch import nn

from mmcompress.core import Clock, CompressionError
from mmcompress.core.channels.gate import Gate
from mmcompress.core.export.static import to_static
from mmcompress.methods.fcf import FactorizedConv2d

CLOSE = dict(rtol=0, atol=1e-9)
SETTING = dict(rho=0.05, rho_max=0.4, mu=1.1, alpha=0.7)


class LiteralConv(nn.Conv2d):
    """``diag(v) W``, by a product of matrices."""

    def forward(self, x):
        rows = torch.diag(self.v) @ self.weight.view(self.out_channels, -1)
        return F.conv2d(x, rows.view_as(self.weight), self.bias, self.stride, self.padding)


def literal_of(dense):
    """A copy whose convolutions in blocks have scalars, and these layers in order."""
    model, layers = copy.deepcopy(dense), []
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d) and '.layer' in name and 'shortcut' not in name:
            module.__class__ = LiteralConv
            module.v = nn.Parameter(torch.ones(module.out_channels, dtype=torch.float64))
            layers.append(module)
    return model, layers


def bisected(x, k):
    """The nearest point of ``{0 <= z <= 1, sum z = k}``."""
    low, high = x.min() - 1, x.max()
    for _ in range(200):
        tau = (low + high) / 2
        low, high = (tau, high) if (x - tau).clamp(0, 1).sum() > k else (low, tau)
    return (x - high).clamp(0, 1)


class LiteralADMM:
    """What one layer of theirs keeps, and does around each step."""

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


@pytest.mark.slow
def test_forty_steps_of_theirs(classifier_cfg):
    """Losses, weights, scalars, duals and penalty, on a ResNet-8 with projections, in float64."""
    torch.manual_seed(0)
    cfg = classifier_cfg(shortcut='projection')
    dense = MODELS.build(cfg).double()
    algorithm = fcf(cfg, **SETTING).double().train()
    algorithm.load_state_dict(dense.state_dict(), strict=False)
    model, layers = literal_of(dense.train())
    admm = [LiteralADMM(layer, int(layer.out_channels * 0.75), **SETTING) for layer in layers]
    theirs = torch.optim.SGD(model.parameters(), lr=0.05)
    wrapper = OptimWrapper(torch.optim.SGD(algorithm.parameters(), lr=0.05))
    algorithm.start(wrapper)
    assert len(layers) == len(algorithm.scalars) == 6
    for step, (images, labels) in enumerate(batches(40)):
        loss = F.cross_entropy(model(images, mode='tensor'), labels)
        theirs.zero_grad()
        loss.backward()
        for layer in admm:
            layer.before()
        theirs.step()
        for layer in admm:
            layer.after()
        algorithm.tick(Clock(0, step, 1, 40, step == 0))
        with wrapper.optim_context(algorithm):
            ours = F.cross_entropy(algorithm.architecture(images, mode='tensor'), labels)
        wrapper.update_params(ours)
        assert float(ours.detach() - loss.detach()) == pytest.approx(0, abs=1e-9), step
        for layer, v in zip(layers, algorithm.scalars, strict=True):
            torch.testing.assert_close(v.detach(), layer.v.detach(), **CLOSE)
    assert max(float((layer.v.detach() - 1).abs().max()) for layer in layers) > 0.05
    for name in ('y1', 'y2', 'z1', 'z2'):
        expected = torch.cat([getattr(layer, name) for layer in admm])
        found = algorithm.admm.unpad(getattr(algorithm.admm, name), [len(expected)])[0]
        torch.testing.assert_close(found, expected, **CLOSE)
    assert float(algorithm.admm.rho) == pytest.approx(admm[0].rho, rel=1e-12)
    state = algorithm.architecture.state_dict()
    for name, value in model.state_dict().items():
        torch.testing.assert_close(state[name], value, **CLOSE, msg=name)


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
