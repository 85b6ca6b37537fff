"""core/recovery: statistics of norms, and training without labels."""

import copy

import torch
from torch import nn

from mmcompress.core.recovery.matching import blocks_of, match
from mmcompress.core.recovery.norms import estimate_norms


class Block(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 1)

    def forward(self, x):
        return x + self.conv2(self.norm(self.conv1(x)).relu())


def network():
    torch.manual_seed(0)
    body = nn.Sequential(Block(), Block())
    return nn.Sequential(nn.Conv2d(3, 4, 1), body, nn.Conv2d(4, 2, 1))


def forward(model, batch):
    return model(batch)


def batches():
    torch.manual_seed(1)
    return [torch.randn(6, 3, 5, 5) * 2 + 1 for _ in range(3)]


def test_statistics_are_those_of_the_batches():
    model = network()
    seen = []
    norm = model[1][0].norm
    norm.momentum = 0.3
    hook = norm.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    assert estimate_norms(model, batches(), forward) == 2
    hook.remove()
    mean = sum(x.mean((0, 2, 3)) for x in seen) / 3
    var = sum(x.var((0, 2, 3)) for x in seen) / 3
    torch.testing.assert_close(norm.running_mean, mean)
    torch.testing.assert_close(norm.running_var, var)
    assert norm.momentum == 0.3
    assert not any(module.training for module in model.modules())


def test_blocks():
    assert blocks_of(network()) == ['1.0', '1.1']
    # Outermost ones only, and no sequence itself.
    nested = nn.Sequential(nn.Sequential(nn.Sequential(Block(), Block()), Block()))
    assert blocks_of(nested) == ['0.1', '0.0.0', '0.0.1']


def test_features_come_near_those_of_the_dense_network():
    dense = network()
    other = copy.deepcopy(dense)
    for parameter in other.parameters():
        parameter.data.mul_(0.7)
    state = copy.deepcopy(dense.state_dict())
    calls = []

    def trained(steps, seed=0):
        model = copy.deepcopy(other)
        step = lambda: calls.append(1)  # noqa: E731
        return model, match(model, dense, batches(), forward, steps, 1e-2, seed, step)

    first, before = trained(1)
    assert len(calls) == 1
    model, after = trained(60)
    assert after < 0.2 * before
    same, _ = trained(60)
    assert all(map(torch.equal, model.state_dict().values(), same.state_dict().values()))
    # The dense network stays, and so do statistics of norms.
    assert all(map(torch.equal, dense.state_dict().values(), state.values()))
    assert torch.equal(model[1][0].norm.running_var, other[1][0].norm.running_var)
