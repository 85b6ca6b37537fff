"""core/narrow.py against dense layers whose removed channels are silenced or selected by hand."""

import copy

import pytest
import torch
from torch import nn

from mmcompress.core.layers.narrow import (
    NarrowError,
    channels_of,
    is_depthwise,
    is_narrowable,
    is_pass_through,
    narrow,
)
from mmcompress.models import PadShortcut

KEEP_8 = [0, 2, 3, 6]


def t(keep):
    return None if keep is None else torch.tensor(keep)


def randomize(layer):
    with torch.no_grad():
        for tensor in [*layer.parameters(), *layer.buffers()]:
            if tensor.is_floating_point():
                tensor.uniform_(0.5, 1.5)
    return layer.double().eval()


def silenced(x, keep):
    """``x`` with zeros in the channels (dimension 1) that are not kept."""
    if keep is None:
        return x
    out = torch.zeros_like(x)
    out[:, keep] = x[:, keep]
    return out


def check(layer, x, in_keep, out_keep):
    """A narrowed layer on the kept channels against the dense one, the others silenced."""
    dense = randomize(layer)
    expected = dense(silenced(x, t(in_keep)))
    expected = expected if out_keep is None else expected[:, t(out_keep)]
    thin = copy.deepcopy(dense)
    narrow(thin, t(in_keep), t(out_keep))
    found = thin(x if in_keep is None else x[:, t(in_keep)])
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    ins, outs = channels_of(dense)
    assert channels_of(thin) == (len(in_keep or range(ins)), len(out_keep or range(outs)))
    return dense, thin


SIDES = [(None, [1, 4, 5]), (KEEP_8, None), (KEEP_8, [0, 5]), ([7], [2])]


@pytest.mark.parametrize(('in_keep', 'out_keep'), SIDES)
@pytest.mark.parametrize(
    ('layer', 'size'),
    [
        (lambda: nn.Conv1d(8, 6, 3, padding=1), (9,)),
        (lambda: nn.Conv2d(8, 6, 3, stride=2, dilation=2), (11, 9)),
        (lambda: nn.Conv2d(8, 6, 3, padding=1, bias=False, padding_mode='reflect'), (7, 5)),
        (lambda: nn.Conv3d(8, 6, 2), (4, 3, 5)),
        (lambda: nn.ConvTranspose2d(8, 6, 3, stride=2, output_padding=1), (5, 4)),
        (lambda: nn.ConvTranspose1d(8, 6, 4, bias=False), (5,)),
        (lambda: nn.Linear(8, 6), ()),
        (lambda: nn.Linear(8, 6, bias=False), ()),
    ],
)
def test_ordinary_layers(layer, size, in_keep, out_keep):
    check(layer(), torch.randn(2, 8, *size, dtype=torch.float64), in_keep, out_keep)


# Two groups: channels 0-3 and 4-7 in, 0-2 and 3-5 out; different ones go in each.
GROUPED = [(None, [1, 2, 3, 5]), ([0, 3, 4, 5], None), ([2, 5], [0, 2, 4, 5])]


@pytest.mark.parametrize(('in_keep', 'out_keep'), GROUPED)
@pytest.mark.parametrize('layer', [nn.Conv2d, nn.ConvTranspose2d])
@pytest.mark.parametrize('bias', [True, False])
def test_grouped_convolutions(layer, bias, in_keep, out_keep):
    conv = layer(8, 6, 3, groups=2, bias=bias)
    _, thin = check(conv, torch.randn(2, 8, 7, 7, dtype=torch.float64), in_keep, out_keep)
    assert thin.groups == 2


PASSING = [
    lambda: nn.BatchNorm2d(8),
    lambda: nn.BatchNorm2d(8, affine=False),
    lambda: nn.BatchNorm2d(8, track_running_stats=False),
    lambda: nn.SyncBatchNorm(8),
    lambda: nn.InstanceNorm2d(8, affine=True, track_running_stats=True),
    lambda: nn.InstanceNorm2d(8),
    lambda: nn.PReLU(8),
    lambda: nn.PReLU(1),
    lambda: nn.Conv2d(8, 8, 3, groups=8, padding=1),
    lambda: nn.ConvTranspose2d(8, 8, 2, stride=2, groups=8, bias=False),
]


@pytest.mark.parametrize('sides', ['in', 'out', 'both'])
@pytest.mark.parametrize('layer', PASSING)
def test_layers_that_pass_channels_through(layer, sides):
    dense = randomize(layer())
    x = torch.randn(3, 8, 6, 6, dtype=torch.float64)
    keep = t(KEEP_8)
    thin = copy.deepcopy(dense)
    narrow(thin, keep if sides != 'out' else None, keep if sides != 'in' else None)
    torch.testing.assert_close(thin(x[:, keep]), dense(x)[:, keep], rtol=1e-12, atol=1e-12)
    assert is_pass_through(dense)
    if channels_of(dense) != (1, 1):
        assert channels_of(thin) == (4, 4)


def test_depthwise_stays_depthwise():
    conv = nn.Conv2d(8, 8, 3, groups=8)
    assert is_depthwise(conv)
    narrow(conv, t(KEEP_8))
    assert is_depthwise(conv)
    assert conv.groups == 4
    assert not is_depthwise(nn.Conv2d(8, 16, 3, groups=8))
    assert not is_depthwise(nn.Conv2d(1, 1, 3))


def test_group_norm_loses_as_many_channels_in_each_group():
    dense = randomize(nn.GroupNorm(2, 8))
    keep = t([0, 1, 4, 5])
    # Channels with the same values as a kept one leave the statistics of the group unchanged.
    x = torch.randn(2, 8, 5, 5, dtype=torch.float64)
    x[:, [2, 3, 6, 7]] = x[:, [0, 1, 4, 5]]
    thin = copy.deepcopy(dense)
    narrow(thin, keep)
    torch.testing.assert_close(thin(x[:, keep]), dense(x)[:, keep], rtol=1e-12, atol=1e-12)
    assert (thin.num_groups, thin.num_channels) == (2, 4)


def test_layer_norm_over_channels():
    dense = randomize(nn.LayerNorm(8))
    keep = t([0, 1, 4, 5])
    x = torch.randn(2, 5, 8, dtype=torch.float64)
    x[..., [2, 3, 6, 7]] = x[..., [0, 1, 4, 5]]
    thin = copy.deepcopy(dense)
    narrow(thin, None, keep)
    torch.testing.assert_close(thin(x[..., keep]), dense(x)[..., keep], rtol=1e-12, atol=1e-12)
    assert thin.normalized_shape == (4,)


def test_statistics_and_flags_are_kept():
    norm = nn.BatchNorm2d(4)
    norm.running_mean.copy_(torch.arange(4.0))
    norm.num_batches_tracked.fill_(7)
    norm.weight.requires_grad_(False)
    narrow(norm, t([1, 3]))
    assert norm.running_mean.tolist() == [1, 3]
    assert norm.num_batches_tracked == 7
    assert not norm.weight.requires_grad
    assert norm.bias.requires_grad

    conv = nn.Conv2d(4, 4, 1, groups=2).requires_grad_(False)
    narrow(conv, t([0, 2]), t([1, 3]))
    assert isinstance(conv.weight, nn.Parameter)
    assert not conv.weight.requires_grad


def test_nothing_asked_nothing_done():
    for layer in (nn.Conv2d(4, 6, 3), nn.BatchNorm2d(4), nn.Linear(4, 2), nn.GroupNorm(2, 4)):
        before = {key: value.clone() for key, value in layer.state_dict().items()}
        narrow(layer)
        assert all(torch.equal(before[key], layer.state_dict()[key]) for key in before)


def test_modules_with_the_protocol():
    pad = PadShortcut(4, 8)
    assert is_narrowable(pad)
    assert channels_of(pad) == (4, 8)
    narrow(pad, t([0, 1]), t([2, 3, 7]))
    assert channels_of(pad) == (2, 3)


@pytest.mark.parametrize(
    ('layer', 'in_keep', 'out_keep', 'says'),
    [
        (lambda: nn.Conv2d(8, 8, 1, groups=2), [0, 1, 2], None, '2 groups do not divide 3'),
        (lambda: nn.Conv2d(8, 8, 1, groups=2), [0, 1, 2, 3], None, 'grouped conv'),
        (lambda: nn.Conv2d(8, 8, 1, groups=2), None, [0, 4, 5], '2 groups do not divide 3'),
        (lambda: nn.ConvTranspose2d(8, 8, 1, groups=2), None, [0, 1], 'grouped conv'),
        (lambda: nn.Conv2d(8, 16, 1, groups=8), [0, 1, 2, 3], None, 'grouped conv'),
        (lambda: nn.GroupNorm(4, 8), [0, 1], None, 'group norm: its 4 groups'),
        (lambda: nn.LayerNorm((8, 4, 4)), [0, 1], None, 'layer norm over more'),
        (lambda: nn.Embedding(8, 4), [0, 1], None, 'Embedding is not a layer'),
    ],
)
def test_what_cannot_be_done_says_why(layer, in_keep, out_keep, says):
    layer = layer()
    before = {key: value.clone() for key, value in layer.state_dict().items()}
    with pytest.raises(NarrowError, match=says):
        narrow(layer, t(in_keep), t(out_keep))
    assert all(torch.equal(before[key], layer.state_dict()[key]) for key in before)


def test_what_is_narrowable():
    assert not is_narrowable(nn.ReLU())
    assert not is_narrowable(nn.Embedding(4, 4))
    assert not is_narrowable(nn.Sequential())
    assert is_narrowable(nn.ConvTranspose3d(2, 2, 1))
