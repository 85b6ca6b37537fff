"""LinearConv: the op against a plain convolution with the materialised kernel."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from mmcompress.core.errors import CompressionError
from mmcompress.methods.linear_conv.op import LinearConv2d

VARIANTS = {
    'linear': dict(),
    'lowrank': dict(rank=2),
    'rankratio': dict(rank_ratio=0.5),
    'sparse': dict(target_sparsity=0.5),
}
# Settings of the dense convolution from 8 channels, and input size.
CASES = {
    'plain': (dict(), (6, 7)),
    'two_groups': (dict(groups=2), (6, 7)),
    'two_groups_bias_stride': (dict(groups=2, bias=True, stride=2), (7, 9)),
    'depthwise': (dict(groups=8, out_channels=32), (6, 6)),
    'depthwise_single': (dict(groups=8, out_channels=8), (6, 6)),
    'dilation_bias': (dict(dilation=2, padding=2, bias=True), (9, 7)),
    'same': (dict(padding='same'), (5, 7)),
    'uneven': (dict(kernel_size=(1, 5), padding=(0, 2), stride=(1, 2)), (4, 9)),
    'one_by_one': (dict(kernel_size=1, padding=0), (5, 5)),
    'reflect': (dict(padding_mode='reflect', padding=2), (6, 7)),
    'odd': (dict(out_channels=13), (5, 5)),
}


def dense(out_channels=16, kernel_size=3, padding=1, bias=False, **settings):
    torch.manual_seed(0)
    conv = nn.Conv2d(8, out_channels, kernel_size, padding=padding, bias=bias, **settings)
    return conv.double()


def made(conv, variant='linear', **settings):
    """An op with random tensors everywhere, filters in random order."""
    options = dict(VARIANTS[variant], **settings)
    if conv.out_channels // conv.groups < 4 and variant == 'lowrank':
        options['rank'] = 1
    op = LinearConv2d(conv, variant=variant, **options)
    for parameter in op.parameters():
        nn.init.normal_(parameter)
    each = conv.out_channels // conv.groups
    op.order.copy_(torch.cat([g * each + torch.randperm(each) for g in range(conv.groups)]))
    if op.is_sparse:
        op.mask.copy_(torch.rand(op.mask.shape) < 0.5)
    return op


def kernel(op):
    """The filters one by one, as the formula has them."""
    each, count = op.out_channels // op.groups, op.num_primary
    rows = []
    for group in range(op.groups):
        primary = op.primary[group * count : (group + 1) * count]
        rows.extend(primary)
        for j in range(each - count):
            if op.is_sparse:
                weights = op.combination[group, j] * op.mask[group, j]
            elif hasattr(op, 'combination'):
                weights = op.combination[group, j]
            else:
                weights = (op.left[group, j][:, None] * op.right[group]).sum(0)
            rows.append(sum(weight * one for weight, one in zip(weights, primary, strict=True)))
    return torch.stack([rows[int(row)] for row in op.order])


@pytest.mark.parametrize('variant', VARIANTS)
@pytest.mark.parametrize('case', CASES)
def test_equals_convolution_with_materialised_kernel(case, variant):
    settings, size = CASES[case]
    conv = dense(**settings)
    op = made(conv, variant)
    literal = copy.deepcopy(op)
    x = torch.randn(2, 8, *size, dtype=torch.double, requires_grad=True)
    y = x.detach().clone().requires_grad_()

    out = op(x)
    expected = conv._conv_forward(y, kernel(literal), literal.bias)
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-10)

    grad = torch.randn_like(out)
    out.backward(grad)
    expected.backward(grad)
    torch.testing.assert_close(x.grad, y.grad, rtol=0, atol=1e-10)
    for own, other in zip(op.parameters(), literal.parameters(), strict=True):
        wanted = torch.zeros_like(other) if other.grad is None else other.grad
        torch.testing.assert_close(own.grad, wanted, rtol=0, atol=1e-10)


@pytest.mark.parametrize('variant', VARIANTS)
@pytest.mark.parametrize('case', CASES)
def test_static_layer_is_plain_and_the_same(case, variant):
    settings, size = CASES[case]
    conv = dense(**settings)
    op = made(conv, variant)
    x = torch.randn(2, 8, *size, dtype=torch.double)
    static = op.to_static()
    assert type(static) is nn.Conv2d
    assert static.weight.shape == conv.weight.shape
    torch.testing.assert_close(static(x), op(x), rtol=0, atol=1e-10)


@pytest.mark.parametrize('variant', VARIANTS)
def test_kernel_is_made_once_without_gradients(variant, monkeypatch):
    op = made(dense(), variant)
    calls = []
    filters = op.filters
    monkeypatch.setattr(op, 'filters', lambda: calls.append(1) or filters())
    x = torch.randn(1, 8, 5, 5, dtype=torch.double)
    op.eval()
    with torch.no_grad():
        outs = [op(x) for _ in range(3)]
    assert len(calls) == 1
    assert torch.equal(outs[0], outs[2])
    op(x).sum().backward()
    assert len(calls) == 2
    torch.optim.SGD(op.parameters(), lr=0.1).step()
    with torch.no_grad():
        after = [op(x) for _ in range(2)]
    assert len(calls) == 3
    assert not torch.allclose(after[0], outs[0])
    torch.testing.assert_close(after[0], op.to_static()(x), rtol=0, atol=1e-10)


def test_mask_is_noticed():
    op = made(dense(), 'sparse')
    x = torch.randn(1, 8, 5, 5, dtype=torch.double)
    with torch.no_grad():
        before = op(x)
        op.mask.zero_()
        assert not torch.allclose(op(x), before)


def test_moving_averages_are_noticed():
    """They write through ``data``, which leaves no trace but the change of mode that follows."""
    op = made(dense()).eval()
    x = torch.randn(1, 8, 5, 5, dtype=torch.double)
    with torch.no_grad():
        op(x)
        op.primary.data.mul_(2)
        op.eval()
        torch.testing.assert_close(op(x), op.to_static()(x), rtol=0, atol=1e-10)


def test_mask_update():
    op = LinearConv2d(nn.Conv2d(8, 8, 3), variant='sparse', target_sparsity=0.25)
    with torch.no_grad():
        op.combination.copy_(torch.arange(1.0, 17).view(1, 4, 4) * 0.1)
        op.threshold.fill_(0.45)
    op.update_mask(0.1)
    assert op.mask.flatten().tolist() == [False] * 4 + [True] * 12
    assert float(op.sparsity) == 0.25
    # The target is met: the threshold stays.
    torch.testing.assert_close(op.threshold, torch.tensor(0.45))
    op.threshold.fill_(0.05)
    op.update_mask(0.1)
    assert op.mask.all()
    expected = 0.05 + 0.1 * (2 / (1 + 10 ** (10 * (0 - 0.25))) - 1)
    torch.testing.assert_close(op.threshold, torch.tensor(expected))


def test_state_is_saved():
    op = made(dense(), 'sparse')
    op.threshold.fill_(0.5)
    other = LinearConv2d(dense(), variant='sparse', target_sparsity=0.5)
    other.load_state_dict(op.state_dict())
    assert torch.equal(other.filters(), op.filters())
    assert float(other.threshold) == 0.5
    assert torch.equal(other.mask, op.mask)


@pytest.mark.parametrize('variant', VARIANTS)
def test_counted_are_the_parameters_that_are_stored(variant):
    op = made(dense(bias=True), variant)
    x = torch.randn(1, 8, 5, 5, dtype=torch.double)
    expected = op(x).detach()
    left = int(op.mask.sum()) if op.is_sparse else None
    counts = dict(linear=8 * 8, lowrank=16 * 2, rankratio=16 * 4, sparse=left)
    counted = copy.deepcopy(op)
    counted.count_stored()
    assert sum(p.numel() for p in counted.parameters()) == 8 * 72 + counts[variant] + 16
    torch.testing.assert_close(counted(x), expected, rtol=0, atol=1e-10)


def test_half_precision_takes_a_kernel_made_in_full():
    op = made(dense(), 'linear').float()
    x = torch.randn(1, 8, 5, 5)
    with torch.no_grad(), torch.autocast('cpu', dtype=torch.bfloat16):
        out = op(x)
        assert op.kernel().dtype == torch.float
    assert out.dtype == torch.bfloat16
    with torch.no_grad():
        torch.testing.assert_close(op(x), op.to_static()(x), rtol=1e-5, atol=1e-5)


def test_random_filters_are_as_large_as_dense_ones():
    torch.manual_seed(0)
    for variant, settings in VARIANTS.items():
        settings = dict(settings, rank=8) if variant == 'lowrank' else settings
        op = LinearConv2d(nn.Conv2d(32, 64, 3), variant=variant, **settings)
        primary, combined = op.filters().detach().flatten(1).std(1).split(32)
        expected = (2 / (64 * 9)) ** 0.5
        assert float(primary.mean()) == pytest.approx(expected, rel=0.05)
        assert float(combined.square().mean()) ** 0.5 == pytest.approx(expected, rel=0.3)


@pytest.mark.parametrize(
    ('settings', 'says'),
    [
        (dict(variant='linaer'), "variant is 'linaer'; the nearest are 'linear'"),
        (dict(primary_ratio=1), 'primary_ratio is 1; it has to be a number between 0 and 1'),
        (dict(variant=['linear']), r"variant is \['linear'\]; the nearest"),
        (dict(primary_ratio='half'), "primary_ratio is 'half'"),
        (dict(variant='lowrank'), 'needs rank; it is None'),
        (dict(variant='lowrank', rank=0), 'rank is 0; it has to be a positive integer'),
        (dict(variant='lowrank', rank=9), 'rank is 9, but the layer has 8 primary filters'),
        (dict(variant='rankratio', rank_ratio=1.5), 'rank_ratio is 1.5; it has to be a number'),
        (dict(variant='sparse', target_sparsity=True), 'target_sparsity is True'),
        (dict(rank=2), "rank is 2, which is for variant 'lowrank', but variant is 'linear'; set"),
    ],
)
def test_wrong_settings(settings, says):
    with pytest.raises(CompressionError, match=f'^.*{says}'):
        LinearConv2d(nn.Conv2d(8, 16, 3), **settings)
