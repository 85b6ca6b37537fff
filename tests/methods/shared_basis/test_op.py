"""Shared basis: the op against a plain convolution with the merged kernel."""

from __future__ import annotations

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mmcompress.core.errors import CompressionError
from mmcompress.core.filters.basis_op import FACTORED
from mmcompress.core.filters.op import MERGED
from mmcompress.core.layers.plain import SideBySide
from mmcompress.methods.shared_basis import op as source
from mmcompress.methods.shared_basis.op import SharedBasisConv2d

# Settings of the dense convolution, and input size.
CASES = {
    'plain': (dict(), (7, 9)),
    'stride': (dict(stride=2), (7, 9)),
    'uneven_stride': (dict(stride=(1, 3), padding=(0, 2)), (7, 8)),
    'dilation': (dict(dilation=2, padding=2), (9, 7)),
    'no_padding': (dict(padding=0), (5, 7)),
    'same': (dict(padding='same'), (5, 7)),
    'bias': (dict(bias=True), (7, 7)),
    'groups': (dict(groups=2), (7, 9)),
    'groups_bias': (dict(groups=2, bias=True, stride=2), (7, 9)),
    'one_by_one': (dict(kernel_size=1, padding=0), (4, 5)),
    'reflect': (dict(padding_mode='reflect', padding=2), (6, 7)),
}
RANKS = [(4, 2), (4, 0), (0, 2)]


def dense(kernel_size=3, padding=1, bias=False, **settings):
    torch.manual_seed(0)
    return nn.Conv2d(8, 6, kernel_size, padding=padding, bias=bias, **settings).double()


def filled(op):
    for parameter in op.parameters():
        nn.init.normal_(parameter)
    return op


def merged_kernel(op):
    """Every filter is a sum of the filters of its group: first the shared, then the layer's own."""
    groups, coefficients = op.groups, op.coefficients.flatten(1)
    kinds = [basis for basis in (op.owner.shared_basis, op.unique_basis) if basis is not None]
    rows = []
    for o in range(op.out_channels):
        group = o * groups // op.out_channels
        filters = []
        for basis in kinds:
            each = len(basis) // groups
            filters.extend(basis[group * each : (group + 1) * each])
        rows.append(sum(c * f for c, f in zip(coefficients[o], filters, strict=True)))
    return torch.stack(rows)


@pytest.mark.parametrize('form', ['one', 'two', 'merged'])
@pytest.mark.parametrize('ranks', RANKS)
@pytest.mark.parametrize('case', CASES)
def test_equals_convolution_with_merged_kernel(case, ranks, form, monkeypatch):
    settings, (height, width) = CASES[case]
    conv = dense(**settings)
    op = filled(SharedBasisConv2d(conv, *ranks))
    op.merge_from = 0 if form == 'merged' else math.inf
    monkeypatch.setattr(source, 'PAYS', 0 if form == 'one' else math.inf)
    literal = copy.deepcopy(op)
    x = torch.randn(2, 8, height, width, dtype=torch.double, requires_grad=True)
    y = x.detach().clone().requires_grad_()

    out = op(x)
    expected = conv._conv_forward(y, merged_kernel(literal), literal.bias)
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-10)
    torch.testing.assert_close(op.filters(), merged_kernel(op), rtol=0, atol=1e-10)

    grad = torch.randn_like(out)
    out.backward(grad)
    expected.backward(grad)
    torch.testing.assert_close(x.grad, y.grad, rtol=0, atol=1e-10)
    for own, other in zip(op.parameters(), literal.parameters(), strict=True):
        torch.testing.assert_close(own.grad, other.grad, rtol=0, atol=1e-10)


@pytest.mark.parametrize('form', [FACTORED, MERGED])
@pytest.mark.parametrize('norm', [False, True])
@pytest.mark.parametrize('case', CASES)
def test_static_forms(case, norm, form):
    settings, (height, width) = CASES[case]
    norm_cfg = dict(type='BN') if norm else None
    op = filled(SharedBasisConv2d(dense(**settings), 4, 2, norm_cfg=norm_cfg))
    x = torch.randn(4, 8, height, width, dtype=torch.double)
    for _ in range(3):
        op.train()(x)
    static = op.eval().to_static(form)
    torch.testing.assert_close(static(x), op(x), rtol=0, atol=1e-10)
    assert {type(module) for module in static.modules()} <= {nn.Conv2d, nn.Sequential}
    weights = [m.weight.numel() for m in static.modules() if isinstance(m, nn.Conv2d)]
    assert sum(weights) == op.cost(form)


@pytest.mark.parametrize('bias', [False, True])
@pytest.mark.parametrize('groups', [(1, 1), (4, 4), (4, 2)])
def test_without_coefficients(groups, bias):
    conv = dense(bias=bias, stride=2)
    shared_groups, unique_groups = groups
    op = SharedBasisConv2d(
        conv, 4, 4, coefficients=False, shared_groups=shared_groups, unique_groups=unique_groups
    )
    filled(op)
    x = torch.randn(2, 8, 7, 9, dtype=torch.double, requires_grad=True)
    out = op(x)
    maps = [
        F.conv2d(x, basis, None, 2, 1, 1, count)
        for basis, count in zip((op.shared_basis, op.unique_basis), groups, strict=True)
    ]
    if shared_groups == unique_groups:
        # Group by group.
        split = [part.unflatten(1, (shared_groups, -1)) for part in maps]
        expected = torch.cat(split, dim=2).flatten(1, 2)
    else:
        expected = torch.cat(maps, dim=1)
    if bias:
        expected = expected + op.bias.view(1, -1, 1, 1)
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-10)
    assert op.forms == (FACTORED,)
    static = op.to_static()
    torch.testing.assert_close(static(x), out, rtol=0, atol=1e-10)
    assert isinstance(static, nn.Conv2d if shared_groups == unique_groups else SideBySide)
    assert sum(p.numel() for p in static.parameters()) == op.cost(FACTORED) + 8 * bias


def test_whole_filters_are_shared():
    first = SharedBasisConv2d(dense(), 6, 0, coefficients=False)
    second = SharedBasisConv2d(dense(stride=2), 6, 0, coefficients=False, owner=first)
    assert list(second.parameters()) == []
    x = torch.randn(1, 8, 5, 5, dtype=torch.double)
    expected = F.conv2d(x, first.shared_basis, None, 2, 1)
    torch.testing.assert_close(second(x), expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(second.to_static()(x), expected, rtol=0, atol=1e-12)
    second.float()
    assert first.shared_basis.dtype == torch.double, 'it belongs to the owner'


@pytest.mark.parametrize(
    ('ranks', 'kwargs', 'message'),
    [
        ((4, 2), dict(shared_groups=4), 'for convolutions without coefficients'),
        ((4, 3), dict(coefficients=False, unique_groups=2), 'unique_rank is 3 in 2 groups'),
        ((4, 0), dict(coefficients=False, norm_cfg=dict(type='BN')), 'stand in front of coeff'),
    ],
)
def test_bad_settings(ranks, kwargs, message):
    with pytest.raises(CompressionError, match=message):
        SharedBasisConv2d(dense(), *ranks, **kwargs)
