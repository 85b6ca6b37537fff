"""methods/fcf/op.py: a convolution with scalars against one with the merged weight."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mmcompress.core.channels.gate import Gate
from mmcompress.methods.fcf import FactorizedConv2d

CASES = [
    dict(),
    dict(kernel_size=1, bias=False),
    dict(stride=2, padding=1),
    dict(kernel_size=(3, 1), stride=(1, 2), padding=(1, 0)),
    dict(dilation=2, padding=2),
    dict(kernel_size=5, stride=3, dilation=(1, 2), padding=(2, 4), bias=False),
    dict(padding='same', dilation=(2, 1)),
    dict(padding=1, padding_mode='reflect'),
    dict(padding=(2, 1), padding_mode='circular', stride=2),
    dict(groups=2, padding=1),
    dict(groups=6, out_channels=12, bias=False),
]
CLOSE = dict(rtol=1e-10, atol=1e-10)


def make(owner=None, **kwargs):
    args = {'in_channels': 6, 'out_channels': 8, 'kernel_size': 3, **kwargs}
    op = FactorizedConv2d(nn.Conv2d(**args).double(), owner)
    if owner is None:
        nn.init.uniform_(op.v, -0.2, 1.2)
    return op


def gradients(output, tensors):
    weights = torch.linspace(-1, 2, output.numel(), dtype=output.dtype).view_as(output)
    return torch.autograd.grad((output * weights).square().sum(), tensors)


def plain(op, x, weight, bias):
    """The convolution of ``op`` with other weights, in another way than the op does it."""
    padding = op.padding
    if op.padding_mode != 'zeros':
        rows, columns = op.padding
        x = F.pad(x, (columns, columns, rows, rows), mode=op.padding_mode)
        padding = 0
    return F.conv2d(x, weight, bias, op.stride, padding, op.dilation, op.groups)


@pytest.mark.parametrize('size', [(9, 9), (11, 8), (7, 13)])
@pytest.mark.parametrize('case', CASES, ids=str)
def test_outputs_and_all_gradients(case, size):
    op = make(**case)
    x = torch.randn(2, 6, *size, dtype=torch.float64, requires_grad=True)
    v, weight = (t.detach().clone().requires_grad_() for t in (op.v, op.weight))
    bias = None if op.bias is None else op.bias.detach().clone().requires_grad_()
    merged = torch.einsum('mn,ncij->mcij', torch.diag(v), weight)
    expected = plain(op, x, merged, None if bias is None else torch.diag(v) @ bias)
    found = op(x)
    torch.testing.assert_close(found, expected, **CLOSE)
    theirs = gradients(expected, [x, v, weight] + ([] if bias is None else [bias]))
    ours = gradients(found, [x, op.v, op.weight] + ([] if bias is None else [op.bias]))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, **CLOSE)


@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize('kind', [nn.BatchNorm2d, nn.InstanceNorm2d])
def test_with_a_norm_behind_it(kind, training):
    op = make()
    op.scaled_by_norm = True
    norm = kind(8, affine=True).double().train(training)
    for tensor in (norm.weight, norm.bias):
        nn.init.normal_(tensor)
    twin = copy.deepcopy(norm)
    factorized = Gate(norm).train(training)
    factorized.scale(0, 8, op)
    x = torch.randn(3, 6, 9, 8, dtype=torch.float64, requires_grad=True)
    v, weight, bias = (t.detach().clone().requires_grad_() for t in (op.v, op.weight, op.bias))
    expected = v.view(1, 8, 1, 1) * twin(F.conv2d(x, weight, bias))
    found = factorized(op(x))
    torch.testing.assert_close(found, expected, **CLOSE)
    ours = gradients(found, [x, op.v, op.weight, op.bias, norm.weight, norm.bias])
    theirs = gradients(expected, [x, v, weight, bias, twin.weight, twin.bias])
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, **CLOSE)


def test_zero_scalars_give_exactly_zero():
    op = make()
    x = torch.randn(2, 6, 9, 9, dtype=torch.float64)
    with torch.no_grad():
        op.v[[1, 6]] = 0
    assert not op(x)[:, [1, 6]].any()
    norm = Gate(nn.BatchNorm2d(8).double())
    nn.init.normal_(norm.norm.bias)
    norm.scale(0, 8, op)
    op.scaled_by_norm = True
    for training in (True, False):
        out = norm.train(training)(op(x))
        assert not out[:, [1, 6]].any()
        assert out[:, [0, 2, 3, 4, 5, 7]].flatten(2).any(2).all()


def test_scalars_start_at_one_and_change_nothing():
    conv = nn.Conv2d(6, 8, 3)
    x = torch.randn(1, 6, 5, 5)
    op = FactorizedConv2d(conv)
    assert torch.equal(op.v, torch.ones(8))
    assert op.v.requires_grad
    assert op.weight is conv.weight
    assert torch.equal(op(x), conv(x))


def test_a_norm_of_several_convolutions():
    """Behind a concatenation: channels in between have no scalars."""
    first, second = make(out_channels=2), make(out_channels=3)
    norm = Gate(nn.BatchNorm2d(9).double().eval())
    norm.scale(5, 8, second)
    norm.scale(1, 3, first)
    x = torch.randn(2, 9, 3, 3, dtype=torch.float64)
    one = torch.ones(1, dtype=torch.float64)
    factors = torch.cat([one, first.v, one, one, second.v, one])
    torch.testing.assert_close(norm(x), norm.norm(x) * factors.view(1, 9, 1, 1), **CLOSE)


def test_a_norm_behind_a_flattened_feature_map():
    """Each channel stands in the norm once for each pixel."""
    op = make(out_channels=3)
    norm = Gate(nn.BatchNorm1d(12).double().eval())
    norm.scale(0, 12, op)
    x = torch.randn(2, 3, 2, 2, dtype=torch.float64)
    expected = norm.norm(x.flatten(1)).view(2, 3, 4) * op.v.view(1, 3, 1)
    torch.testing.assert_close(norm(x.flatten(1)), expected.flatten(1), **CLOSE)


@pytest.fixture
def pair():
    """A block of two convolutions with the same scalars, one of them with a norm."""
    block = nn.Module()
    block.first = make()
    block.second = make(block.first)
    block.second.scaled_by_norm = True
    block.norm = Gate(nn.BatchNorm2d(8).double())
    block.norm.scale(0, 8, block.first)
    return block


def test_shared_scalars_are_counted_and_saved_once(pair):
    assert pair.second.scales is pair.first.v
    assert sum(p.numel() for p in pair.parameters()) == 2 * (8 * 6 * 9 + 8) + 16 + 8
    keys = [key for key in pair.state_dict() if not key.startswith('norm')]
    assert keys == [
        'first.weight', 'first.bias', 'first.v', 'first.keep', 'second.weight', 'second.bias',
    ]  # fmt: skip


def test_the_gradient_of_shared_scalars_is_the_sum(pair):
    x = torch.randn(2, 6, 9, 9, dtype=torch.float64)
    second = pair.norm(pair.second(x))
    (both,) = gradients(pair.first(x), [pair.first.v])
    both = both + gradients(second, [pair.first.v])[0]
    weights = torch.linspace(-1, 2, second.numel(), dtype=x.dtype).view_as(second)
    pair.norm.norm.reset_running_stats()
    loss = sum((out * weights).square().sum() for out in (pair.first(x), pair.norm(pair.second(x))))
    loss.backward()
    torch.testing.assert_close(pair.first.v.grad, both, **CLOSE)


def test_a_deepcopy_keeps_the_tie(pair):
    twin = copy.deepcopy(pair)
    assert twin.second.scales is twin.first.v
    assert twin.first.v is not pair.first.v
    x = torch.randn(2, 6, 9, 9, dtype=torch.float64)
    with torch.no_grad():
        twin.first.v.zero_()
    assert not twin.second.scales.any()
    assert not twin.norm(twin.second(x)).any()
    assert pair.norm(pair.second(x)).any()


def test_the_tie_lasts_when_the_type_changes(pair):
    pair.float()
    assert pair.second.scales is pair.first.v
    assert pair.first.v.dtype == torch.float32
    out = pair.norm(pair.second(torch.randn(2, 6, 9, 9)))
    assert out.dtype == torch.float32
    with torch.no_grad():
        pair.first.v.zero_()
    assert not pair.norm(pair.second(torch.randn(2, 6, 9, 9))).any()


def test_weights_of_a_dense_block(pair):
    dense = nn.Module()
    dense.first, dense.second = (nn.Conv2d(6, 8, 3).double() for _ in range(2))
    dense.norm = nn.BatchNorm2d(8).double()
    nn.init.normal_(dense.norm.weight)
    dense.norm.running_mean.normal_()
    pair.first.keep.fill_(3)
    state = dense.state_dict()
    for name in ('first', 'second', 'norm'):
        pair.get_submodule(name).fill_missing(state, f'{name}.')
    pair.load_state_dict(state, strict=True)
    assert torch.equal(pair.first.v, torch.ones(8, dtype=torch.float64))
    assert pair.first.keep == 3, 'the width is not that of the dense network'
    assert torch.equal(pair.norm.norm.weight, dense.norm.weight)
    assert torch.equal(pair.norm.norm.running_mean, dense.norm.running_mean)
    x = torch.randn(2, 6, 9, 9, dtype=torch.float64)
    pair.eval(), dense.eval()
    assert torch.equal(pair.norm(pair.second(x)), dense.norm(dense.second(x)))


def test_a_state_dict_of_its_own(pair):
    pair.first.keep.fill_(2)
    twin = copy.deepcopy(pair)
    with torch.no_grad():
        for tensor in twin.state_dict().values():
            tensor.zero_()
    twin.load_state_dict(pair.state_dict(), strict=True)
    for key, value in pair.state_dict().items():
        assert torch.equal(value, twin.state_dict()[key]), key
    state = pair.state_dict()
    del state['second.weight']
    with pytest.raises(RuntimeError, match='second.weight'):
        twin.load_state_dict(state, strict=True)


@pytest.mark.parametrize('case', CASES, ids=str)
def test_to_static_is_the_convolution_at_full_strength(case):
    op = make(**case)
    static = op.to_static()
    assert type(static) is nn.Conv2d
    x = torch.randn(2, 6, 9, 10, dtype=torch.float64)
    torch.testing.assert_close(static(x), plain(op, x, op.weight, op.bias), **CLOSE)
    norm = nn.BatchNorm2d(8)
    assert Gate(norm).to_static() is norm


def test_mixed_precision():
    """Under autocast the scalars stay float32; the output has the type of the convolution's."""
    op = FactorizedConv2d(nn.Conv2d(6, 8, 3))
    norm = Gate(nn.BatchNorm2d(8))
    norm.scale(0, 8, op)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        out = op(torch.randn(2, 6, 5, 5))
        after = norm(out)
    assert out.dtype == after.dtype == torch.bfloat16
    after.float().square().mean().backward()
    assert op.v.grad.dtype == torch.float32
