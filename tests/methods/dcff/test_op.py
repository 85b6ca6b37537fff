"""methods/dcff/op.py: FusedConv2d against a convolution with the merged weight."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mmcompress.methods.dcff import FusedConv2d
from mmcompress.methods.dcff.importance import proxies


def make(width=5, temp=2.0, c_in=6, c_out=8, dtype=torch.float64, **kwargs):
    conv = nn.Conv2d(c_in, c_out, **{'kernel_size': 3, **kwargs}).to(dtype)
    op = FusedConv2d(conv)
    op.set_width(0, c_out, width)
    op.fuse(temp)
    return op


def gradients(output, tensors):
    weights = torch.linspace(-1, 2, output.numel(), dtype=output.dtype).view_as(output)
    return torch.autograd.grad((output * weights).square().sum(), tensors)


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
    dict(groups=2, width=4, padding=1),
    dict(groups=2, width=6, stride=2, bias=False, kernel_size=1),
]


@pytest.mark.parametrize('size', [(9, 9), (11, 8), (7, 13)])
@pytest.mark.parametrize('case', CASES, ids=str)
def test_outputs_and_all_gradients(case, size):
    op = make(**case)
    x = torch.randn(2, 6, *size, dtype=torch.float64, requires_grad=True)
    weight = op.weight.detach().clone().requires_grad_()
    bias = None if op.bias is None else op.bias.detach().clone().requires_grad_()

    merged = torch.einsum('mn,ncij->mcij', op.proxies, weight)
    merged_bias = None if bias is None else op.proxies @ bias
    padding = op.padding
    padded = x
    if op.padding_mode != 'zeros':
        rows, columns = op.padding
        padded = F.pad(x, (columns, columns, rows, rows), mode=op.padding_mode)
        padding = 0
    expected = F.conv2d(padded, merged, merged_bias, op.stride, padding, op.dilation, op.groups)

    found = op(x)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    theirs = gradients(expected, [x, weight] + ([] if bias is None else [bias]))
    ours = gradients(found, [x, op.weight] + ([] if bias is None else [op.bias]))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


def test_gradients_reach_all_filters_and_not_the_proxies():
    op = make(temp=1.0)
    op(torch.randn(1, 6, 7, 7, dtype=torch.float64)).square().sum().backward()
    assert (op.weight.grad.flatten(1).abs().sum(dim=1) > 0).all()
    assert (op.bias.grad.abs() > 0).all()
    assert not op.proxies.requires_grad
    assert {name for name, _ in op.named_parameters()} == {'weight', 'bias'}


def test_proxies_are_those_of_the_paper():
    op = make(width=5, temp=3.0)
    expected, score, *_ = proxies(op.weight, 3.0, 5)
    assert torch.equal(op.proxies, expected)
    assert torch.equal(op.importance, score)


def test_proxies_are_constant_between_fuse_steps():
    op = make()
    before = op.proxies.clone()
    with torch.no_grad():
        op.weight.add_(1.0 * torch.randn_like(op.weight))
    op(torch.randn(1, 6, 5, 5, dtype=torch.float64))
    assert torch.equal(op.proxies, before)
    op.fuse(2.0)
    assert not torch.equal(op.proxies, before)


def test_before_the_first_fuse_step_the_first_filters_are_used():
    conv = nn.Conv2d(3, 8, 3)
    op = FusedConv2d(conv)
    x = torch.randn(1, 3, 6, 6)
    torch.testing.assert_close(op(x), conv(x))
    op.set_width(0, 8, 5)
    torch.testing.assert_close(op(x), conv(x)[:, :5])
    assert op.out_channels == 5


def test_groups_fuse_their_own_filters():
    op = make(groups=2, width=4)
    assert op.runs == [(2, 4), (2, 4)]
    assert not op.proxies[:2, 4:].any()
    assert not op.proxies[2:, :4].any()
    for rows, columns in ((slice(0, 2), slice(0, 4)), (slice(2, 4), slice(4, 8))):
        expected, score, *_ = proxies(op.weight[columns], 2.0, 2)
        torch.testing.assert_close(op.proxies[rows, columns], expected, rtol=1e-12, atol=0)
        assert torch.equal(op.importance[columns], score)


def test_parts_of_the_filters():
    op = FusedConv2d(nn.Conv2d(3, 10, 1).double())
    op.set_width(6, 10, 3)
    op.set_width(0, 4, 2)
    op.fuse(5.0)
    assert op.runs == [(2, 4), (2, 2), (3, 4)]
    assert op.out_channels == 7
    expected = torch.block_diag(
        proxies(op.weight[:4], 5.0, 2)[0],
        torch.eye(2, dtype=torch.float64),
        proxies(op.weight[6:], 5.0, 3)[0],
    )
    torch.testing.assert_close(op.proxies, expected, rtol=1e-12, atol=0)
    x = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    dense = F.conv2d(x, op.weight, op.bias)
    torch.testing.assert_close(op(x)[:, 2:4], dense[:, 4:6], rtol=1e-10, atol=1e-10)
    assert not op.importance[4:6].any()


@pytest.mark.parametrize('spans', [[(0, 4), (0, 4)], [(0, 4), (2, 6)], [(4, 12)]])
def test_a_range_is_set_once(spans):
    op = FusedConv2d(nn.Conv2d(3, 10, 1))
    with pytest.raises(ValueError, match='not one unfused run'):
        for start, end in spans:
            op.set_width(start, end, 2)


def test_part_of_a_group_cannot_be_fused():
    op = FusedConv2d(nn.Conv2d(4, 8, 1, groups=2))
    with pytest.raises(ValueError, match='part of a group'):
        op.set_width(0, 2, 1)


def test_whole_groups_are_fused_one_by_one():
    op = FusedConv2d(nn.Conv2d(8, 16, 1, groups=4)).double()
    op.set_width(0, 8, 4)
    op.set_width(8, 16, 4)
    assert op.runs == [(2, 4)] * 4
    op.fuse(5.0)
    expected = [proxies(op.weight[4 * i : 4 * i + 4], 5.0, 2)[0] for i in range(4)]
    torch.testing.assert_close(op.proxies, torch.block_diag(*expected), rtol=1e-12, atol=0)
    x = torch.randn(2, 8, 3, 3, dtype=torch.float64)
    weight, bias = op.fused()
    torch.testing.assert_close(op(x), F.conv2d(x, weight, bias, groups=4))


@pytest.mark.parametrize('groups', [1, 2])
def test_narrow_takes_input_channels(groups):
    op = make(groups=groups, width=4)
    op.weight.requires_grad_(False)
    keep = torch.tensor([0, 1, 4]) if groups == 1 else torch.tensor([0, 2, 3, 4])
    x = torch.zeros(2, 6, 7, 7, dtype=torch.float64)
    x[:, keep] = torch.randn(2, len(keep), 7, 7, dtype=torch.float64)
    expected = op(x)
    op.narrow(keep, None)
    torch.testing.assert_close(op(x[:, keep]), expected, rtol=1e-10, atol=1e-10)
    assert op.in_channels == len(keep)
    assert op.weight.shape == (8, len(keep) // groups, 3, 3)
    assert not op.weight.requires_grad


def test_narrow_never_takes_output_channels():
    op = make()
    with pytest.raises(ValueError, match='that of its proxies'):
        op.narrow(None, torch.tensor([0]))
    before = op.weight
    op.narrow(None, None)
    assert op.weight is before


@pytest.mark.parametrize('case', CASES, ids=str)
def test_to_static(case):
    op = make(**case)
    op.narrow(torch.tensor([0, 1, 3, 4]), None)
    static = op.to_static()
    assert type(static) is nn.Conv2d
    x = torch.randn(2, 4, 9, 10, dtype=torch.float64)
    torch.testing.assert_close(static(x), op(x), rtol=1e-12, atol=1e-12)
    assert (static.in_channels, static.out_channels) == (4, op.out_channels)
    assert static.weight.device.type == 'cpu'
    assert static.weight.requires_grad
    assert static.weight.grad_fn is None
    with torch.no_grad():
        static.weight.zero_()
    assert op.weight.any()


def test_state_dict_round_trip():
    op = make()
    other = make(temp=7.0)
    assert set(op.state_dict()) == {'weight', 'bias', 'proxies', 'importance', 'chosen'}
    other.load_state_dict(op.state_dict())
    x = torch.randn(2, 6, 9, 9, dtype=torch.float64)
    assert torch.equal(other(x), op(x))


def test_deepcopy_is_independent():
    op = make()
    twin = copy.deepcopy(op)
    x = torch.randn(2, 6, 9, 9, dtype=torch.float64)
    expected = op(x)
    assert torch.equal(twin(x), expected)
    with torch.no_grad():
        twin.weight.zero_()
        twin.proxies.zero_()
    assert torch.equal(op(x), expected)


def test_it_takes_over_the_parameters_and_the_init_cfg():
    conv = nn.Conv2d(3, 8, 3)
    conv.init_cfg = dict(type='Kaiming')
    op = FusedConv2d(conv)
    assert op.weight is conv.weight
    assert op.bias is conv.bias
    assert op.init_cfg == dict(type='Kaiming')
    assert 'filters=8' in repr(op)


def test_autocast():
    op = make(dtype=torch.float32)
    x = torch.randn(2, 6, 9, 9)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        found = op(x)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), op(x), rtol=0.05, atol=0.05)
    found.float().sum().backward()
    assert op.weight.grad.dtype == torch.float32
