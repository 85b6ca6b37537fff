"""Filter basis: the op against a plain convolution with the merged kernel."""

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
from mmcompress.methods.filter_basis import op as source
from mmcompress.methods.filter_basis.op import FilterBasisConv2d

# Settings of the dense convolution, basis size, and input size.
CASES = {
    'plain': (dict(), 4, (7, 9)),
    'one_group': (dict(), 8, (6, 6)),
    'many_groups': (dict(), 1, (5, 5)),
    'stride': (dict(stride=2), 2, (7, 9)),
    'uneven_stride': (dict(stride=(1, 3), padding=(0, 2)), 4, (7, 8)),
    'dilation': (dict(dilation=2, padding=2), 4, (9, 7)),
    'no_padding': (dict(padding=0), 4, (5, 7)),
    'same': (dict(padding='same'), 4, (5, 7)),
    'bias': (dict(bias=True), 4, (7, 7)),
    'groups': (dict(groups=2), 2, (7, 9)),
    'whole_groups': (dict(groups=2, bias=True, stride=2), 4, (7, 9)),
    'flat_kernel': (dict(kernel_size=(1, 5), padding=(0, 2)), 4, (4, 9)),
    'reflect': (dict(padding_mode='reflect', padding=2), 4, (6, 7)),
    'circular': (dict(padding_mode='circular'), 2, (6, 7)),
}


def dense(kernel_size=3, padding=1, bias=False, **settings):
    torch.manual_seed(0)
    return nn.Conv2d(8, 6, kernel_size, padding=padding, bias=bias, **settings).double()


def filled(op):
    """Every parameter, biases too, at random."""
    for parameter in op.parameters():
        nn.init.normal_(parameter)
    return op


def merged_kernel(op):
    """W[o, i s + r] = sum_q coeff[o, i b + q] B[q, r], in loops."""
    coefficients, basis = op.coefficients.flatten(1), op.owner.shared_basis
    b, s = len(basis), op.basis_size
    rows = []
    for o in range(op.out_channels):
        parts = []
        for i in range(op.dense_shape[1] // s):
            parts.append(sum(coefficients[o, i * b + q] * basis[q, :s] for q in range(b)))
        rows.append(torch.cat(parts))
    return torch.stack(rows)


def merged_bias(op):
    """What basis_bias comes to behind the coefficients, and the bias."""
    bias = torch.zeros(op.out_channels, dtype=torch.double)
    if op.basis_bias is not None:
        b = len(op.basis_bias)
        coefficients = op.coefficients.flatten(1)
        rows = [sum(row[j] * op.basis_bias[j % b] for j in range(len(row))) for row in coefficients]
        bias = bias + torch.stack(rows)
    return bias if op.bias is None else bias + op.bias


@pytest.mark.parametrize('form', ['folded', 'repeated', 'merged'])
@pytest.mark.parametrize('basis_bias', [False, True])
@pytest.mark.parametrize('case', CASES)
def test_equals_convolution_with_merged_kernel(case, basis_bias, form, monkeypatch):
    settings, size, (height, width) = CASES[case]
    conv = dense(**settings)
    op = filled(FilterBasisConv2d(conv, 3, size, basis_bias=basis_bias))
    op.merge_from = 0 if form == 'merged' else math.inf
    monkeypatch.setattr(source, 'NARROW', 0 if form == 'folded' else 16)
    literal = copy.deepcopy(op)
    x = torch.randn(2, 8, height, width, dtype=torch.double, requires_grad=True)
    y = x.detach().clone().requires_grad_()

    out = op(x)
    plain = copy.deepcopy(conv)
    plain.bias = None
    expected = plain._conv_forward(y, merged_kernel(literal), merged_bias(literal))
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
    settings, size, (height, width) = CASES[case]
    norm_cfg = dict(type='BN') if norm else None
    op = FilterBasisConv2d(dense(**settings), 3, size, basis_bias=True, norm_cfg=norm_cfg)
    filled(op)
    x = torch.randn(4, 8, height, width, dtype=torch.double)
    for _ in range(3):
        op.train()(x)
    static = op.eval().to_static(form)
    torch.testing.assert_close(static(x), op(x), rtol=0, atol=1e-10)
    assert {type(module) for module in static.modules()} <= {nn.Conv2d, nn.Sequential}
    assert isinstance(static, nn.Conv2d) == (form == MERGED)
    weights = [m.weight.numel() for m in static.modules() if isinstance(m, nn.Conv2d)]
    assert sum(weights) == op.cost(form)


def test_merged_where_that_is_less_work():
    conv = nn.Conv2d(16, 16, 3, padding=1)
    op = FilterBasisConv2d(conv, 24, 16)
    # 24 x 16 x 9 + 16 x 24 instead of 16 x 16 x 9 at every position, and 16 x 24 x 16 x 9 once.
    assert op.merge_from == 36
    assert op.merges((1, 16, 6, 6))
    assert op.merges((4, 16, 3, 3))
    assert not op.merges((1, 16, 7, 5))
    strided = FilterBasisConv2d(nn.Conv2d(16, 16, 3, stride=2, padding=1), 24, 16)
    assert strided.merges((1, 16, 11, 12))
    assert not strided.merges((1, 16, 10, 12))
    in_parts = FilterBasisConv2d(nn.Conv2d(16, 4, 3), 8, 8)
    made, factored, merged = 4 * 2 * 8 * 8 * 9, 2 * 8 * 8 * 9 + 4 * 2 * 8, 4 * 16 * 9
    assert in_parts.merge_from == made / (factored - merged)
    assert not FilterBasisConv2d(conv, 8, 16).merges((64, 16, 99, 99))
    norm = dict(type='BN')
    assert not FilterBasisConv2d(conv, 24, 16, norm_cfg=norm).merges((64, 16, 99, 99))


def test_activation_stays_factored():
    op = FilterBasisConv2d(
        dense(), 3, 4, norm_cfg=dict(type='BN'), act_cfg=dict(type='ReLU', inplace=True)
    )
    filled(op)
    x = torch.randn(4, 8, 6, 6, dtype=torch.double)
    op.train()(x)
    assert op.forms == (FACTORED,)
    static = op.eval().to_static(FACTORED)
    torch.testing.assert_close(static(x), op(x), rtol=0, atol=1e-10)
    maps = op.act(op.norm(op.convolve(x)))
    torch.testing.assert_close(op(x), F.conv2d(maps, op.coefficients, op.bias), rtol=0, atol=1e-10)


def test_slopes_of_an_activation_stay():
    op = filled(FilterBasisConv2d(dense(), 3, 4, act_cfg=dict(type='PReLU', num_parameters=6)))
    with torch.no_grad():
        op.act.weight.copy_(torch.linspace(-1, 1, 6))
    x = torch.randn(4, 8, 6, 6, dtype=torch.double)
    torch.testing.assert_close(op.to_static()(x), op(x), rtol=0, atol=1e-10)


def test_a_shared_activation():
    """One slope: counted and saved where it is, copied along with the model and on export."""
    act = nn.PReLU()
    ops = [
        FilterBasisConv2d(nn.Conv2d(6, 6, 3), 3, 6, act_cfg=dict(type='PReLU'), act=act)
        for _ in range(2)
    ]
    model = nn.Sequential(act, *ops).double()
    assert [name for name in model.state_dict() if 'coefficients' not in name] == [
        '0.weight', '1.bias', '1.shared_basis', '2.bias', '2.shared_basis',
    ]  # fmt: skip
    twin = copy.deepcopy(model)
    assert twin[1].act is twin[2].act is twin[0]
    with torch.no_grad():
        act.weight.fill_(-0.5)
    x = torch.randn(2, 6, 7, 7, dtype=torch.double)
    maps = F.conv2d(x, ops[0].shared_basis)
    expected = F.conv2d(torch.where(maps > 0, maps, -0.5 * maps), ops[0].coefficients, ops[0].bias)
    torch.testing.assert_close(ops[0](x), expected)
    static = ops[0].to_static()
    torch.testing.assert_close(static(x), expected)
    assert static[1].weight is not act.weight
    assert twin[0].weight.item() == 0.25
    with pytest.raises(CompressionError, match=r'act_cfg is .*ReLU.*PReLU'):
        FilterBasisConv2d(nn.Conv2d(6, 6, 3), 3, 6, act_cfg=dict(type='ReLU'), act=act)


def test_channels_last():
    op = filled(FilterBasisConv2d(dense(), 3, 2))
    x = torch.randn(2, 8, 6, 6, dtype=torch.double)
    last = x.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(op(last), op(x), rtol=0, atol=1e-10)


def test_shared_parameters():
    first = FilterBasisConv2d(dense(), 3, 4)
    second = FilterBasisConv2d(dense(), 3, 2 * 2, owner=first)
    model = nn.Sequential(first, nn.Conv2d(6, 8, 1).double(), second)
    assert sum('shared_basis' in name for name in model.state_dict()) == 1
    assert sum('shared_basis' in name for name, _ in model.named_parameters()) == 1

    twin = copy.deepcopy(model)
    assert twin[2].owner is twin[0]
    with torch.no_grad():
        twin[0].shared_basis.zero_()
    assert second.filters().any()
    assert not twin[2].filters().any()

    model.float()
    assert second.filters().dtype == torch.float
    x = torch.randn(1, 8, 5, 5)
    model(x).sum().backward()
    together = first.shared_basis.grad.clone()
    model.zero_grad()
    with_first = model[2](model[1](model[0](x).detach())).sum()
    with_first.backward()
    assert not torch.equal(together, first.shared_basis.grad), 'both layers have a share'


def test_slice():
    wide = FilterBasisConv2d(nn.Conv2d(8, 6, 3), 3, 8, slice_of=8)
    narrow = FilterBasisConv2d(nn.Conv2d(5, 6, 3), 3, 5, slice_of=8, owner=wide)
    x = torch.randn(2, 5, 6, 6)
    expected = F.conv2d(F.conv2d(x, wide.shared_basis[:, :5]), narrow.coefficients)
    torch.testing.assert_close(narrow(x), expected, rtol=1e-5, atol=1e-6)
    assert narrow.cost(FACTORED) == 3 * 5 * 9 + 6 * 3


@pytest.mark.parametrize(
    ('kwargs', 'message'),
    [
        (dict(norm_cfg=dict(type='GN', num_groups=3)), 'it has to be a batch norm'),
        (dict(norm_cfg=dict(type='Batch')), 'no norm can be built'),
        (dict(coefficient_bias=False), 'coefficient_bias is False'),
    ],
)
def test_bad_settings(kwargs, message):
    with pytest.raises(CompressionError, match=message):
        FilterBasisConv2d(nn.Conv2d(8, 6, 3, bias=True), 3, 4, **kwargs)
