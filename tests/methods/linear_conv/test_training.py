"""Training with LinearConv against the published layer and loop, written out here again."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import mmcompress  # noqa: F401  (repairs old dependencies before they are imported)

# isort: split
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from mmengine.registry import MODELS

from mmcompress.core import Clock

STEPS, EVERY, EVALUATION = 40, 16, 5  # an evaluation of five batches after every 16 iterations
INTERVAL, STEP, TARGET = 7, 0.02, 0.4  # of masks


class Network(nn.Module):
    """Convolutions of all kinds by ``conv(c, n, k, padding, stride, groups)``, norms, a head."""

    def __init__(self, conv):
        super().__init__()
        self.conv1 = conv(3, 8, 3, 1, 1, 1)
        self.conv2 = conv(8, 12, 3, 1, 2, 2)
        self.conv3 = conv(12, 12, 3, 1, 1, 12)
        self.conv4 = conv(12, 16, 1, 0, 1, 1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(n) for n in (8, 12, 12, 16))
        self.fc = nn.Linear(16, 5)

    def forward(self, x):
        for index, norm in enumerate(self.norms, start=1):
            x = norm(getattr(self, f'conv{index}')(x)).relu()
        return self.fc(x.mean(dim=(2, 3)))


class Literal(nn.Module):
    """A layer of n filters: n // 2 of its own, sums of all of these, a mask now and then."""

    def __init__(self, c, n, k, padding, stride, groups, sparse):
        super().__init__()
        self.settings = dict(padding=padding, stride=stride, groups=groups)
        self.own = nn.Parameter(torch.empty(n // 2, c // groups, k, k, dtype=torch.double))
        self.sums = nn.Parameter(torch.empty(n - n // 2, n // 2, dtype=torch.double))
        self.bias = nn.Parameter(torch.empty(n, dtype=torch.double))
        self.sparse, self.count, self.threshold = sparse, 0, 0.0
        self.mask = torch.ones(n - n // 2, n // 2, dtype=torch.bool)

    def forward(self, x):
        if self.sparse:
            self.count += 1
            if self.count == INTERVAL:
                self.count = 0
                self.mask = self.sums.detach().abs() > self.threshold
                zeros = 1 - int(self.mask.sum()) / self.mask.numel()
                self.threshold += (2 / (1 + 10 ** (10 * (zeros - TARGET))) - 1) * STEP
        sums = torch.where(self.mask, self.sums, 0.0)
        others = torch.einsum('ij,jckl->ickl', sums, self.own)
        return F.conv2d(x, torch.cat([self.own, others]), self.bias, **self.settings)


def literal_loss(network: Network, sparse: bool) -> Tensor:
    loss = torch.zeros((), dtype=torch.double)
    for layer in network.modules():
        if isinstance(layer, Literal):
            rows = layer.own.flatten(1)
            loss = loss + 0.01 * (torch.corrcoef(rows) - torch.eye(len(rows))).abs().sum()
            if sparse:
                loss = loss + 0.01 * layer.sums.abs().sum()
    return loss


@MODELS.register_module(force=True)
class Trained(BaseModel):
    def __init__(self, data_preprocessor=None, init_cfg=None):
        super().__init__(data_preprocessor, init_cfg)
        self.backbone = Network(
            lambda c, n, k, padding, stride, groups: nn.Conv2d(c, n, k, stride, padding, 1, groups)
        )

    def forward(self, inputs, data_samples=None, mode='tensor'):
        out = self.backbone(inputs)
        return dict(loss_cls=F.cross_entropy(out, data_samples)) if mode == 'loss' else out


def built(sparse: bool):
    args = dict(variant='sparse', target_sparsity=TARGET) if sparse else dict(variant='linear')
    masks = dict(mask_interval=INTERVAL, threshold_step=STEP, count_evaluation=True)
    return MODELS.build(
        dict(
            type='mmcompress.LinearConv',
            architecture=dict(type='mmengine.Trained'),
            mutator_cfg=dict(
                type='LinearConvMutator',
                filter_unit_cfg=dict(default_args=dict(args, across_groups=True, start='uniform')),
            ),
            **(masks if sparse else {}),
        )
    ).double()


def same_start(network: Network, literal: Network) -> None:
    state = dict(network.state_dict())
    for name, layer in literal.named_modules():
        if isinstance(layer, Literal):
            layer.own.data.copy_(state.pop(f'{name}.primary'))
            layer.sums.data.copy_(state.pop(f'{name}.combination')[0])
            layer.bias.data.copy_(state.pop(f'{name}.bias'))
    plain = {key: value for key, value in state.items() if not key.startswith('conv')}
    literal.load_state_dict(plain, strict=False)


@pytest.mark.parametrize('sparse', [False, True], ids=['linear', 'sparse'])
def test_first_steps_are_those_of_the_published_loop(sparse: bool) -> None:
    torch.manual_seed(0)
    algorithm = built(sparse)
    literal = Network(lambda *args: Literal(*args, sparse)).double()
    ours = algorithm.architecture.backbone
    same_start(ours, literal)
    wrapper = OptimWrapper(torch.optim.Adam(algorithm.parameters(), lr=1e-3))
    optimizer = torch.optim.Adam(literal.parameters(), lr=1e-3)
    batches = torch.randn(STEPS, 6, 3, 8, 8, dtype=torch.double)
    labels = torch.randint(5, (STEPS, 6))
    algorithm.start(wrapper)
    changed = 0
    for step in range(STEPS):
        algorithm.train()
        literal.train()
        algorithm.tick(Clock(0, step, 1, STEPS, step == 0))
        batch = dict(inputs=batches[step], data_samples=labels[step])
        found = algorithm.train_step(batch, wrapper)

        optimizer.zero_grad()
        loss = F.cross_entropy(literal(batches[step]), labels[step])
        if step % 10 == 9:
            loss = loss + literal_loss(literal, sparse)
        loss.backward()
        optimizer.step()

        assert found['loss'].item() == pytest.approx(loss.item(), rel=0, abs=1e-9)
        if step % EVERY == EVERY - 1:
            algorithm.eval()
            literal.eval()
            with torch.no_grad():
                for images in batches[:EVALUATION]:
                    logits = algorithm.val_step(dict(inputs=images))
                    torch.testing.assert_close(logits, literal(images), rtol=0, atol=1e-9)
        for name, layer in literal.named_modules():
            if isinstance(layer, Literal):
                op = ours.get_submodule(name)
                for own, other in [(op.primary, layer.own), (op.combination[0], layer.sums)]:
                    torch.testing.assert_close(own, other, rtol=0, atol=1e-9)
                # In front of a norm its gradient is rounding alone, which Adam enlarges.
                torch.testing.assert_close(op.bias, layer.bias, rtol=0, atol=1e-8)
                if sparse:
                    assert torch.equal(op.mask[0], layer.mask)
                    assert float(op.threshold) == pytest.approx(layer.threshold, abs=1e-12)
                    changed += int((~layer.mask).sum())
    assert (changed > 0) == sparse
    if sparse:
        evaluations = STEPS // EVERY * EVALUATION
        assert int(algorithm.passes) == STEPS + evaluations
