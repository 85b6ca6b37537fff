"""What LinearConv layers start from."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import mmcompress  # noqa: F401  (repairs old dependencies before they are imported)
from mmcompress.core import CompressionError
from mmcompress.methods.linear_conv import LinearConv2d, LinearConvUnit

VARIANTS = {
    'linear': dict(),
    'lowrank': dict(rank=20),
    'rankratio': dict(rank_ratio=0.5),
    'sparse': dict(target_sparsity=0.5),
}


def uniform(tensor, bound):
    """Whether many numbers may well be of a uniform distribution in (-bound, bound)."""
    values = tensor.detach().flatten().double()
    assert values.abs().max() <= bound
    shares = torch.histc(values, 10, -bound, bound) / values.numel()
    # Four standard deviations of a share.
    return bool(((shares - 0.1).abs() < 4 * math.sqrt(0.09 / values.numel())).all())


@pytest.mark.parametrize('across_groups', [True, False])
@pytest.mark.parametrize('groups', [1, 4])
@pytest.mark.parametrize('variant', VARIANTS)
def test_uniform(variant, groups, across_groups):
    torch.manual_seed(0)
    conv = nn.Conv2d(64, 256, 3, groups=groups, bias=True)
    op = LinearConv2d(
        conv, variant=variant, start='uniform', across_groups=across_groups, **VARIANTS[variant]
    )
    factors = [op.left, op.right] if hasattr(op, 'left') else [op.combination]
    for tensor in (*factors, op.bias):
        assert uniform(tensor, 0.1)
    # Glorot's bound for the 128 primary filters.
    bound = math.sqrt(6 / (64 // groups * 9 + 128 * 9))
    assert op.primary.shape[0] == 128
    assert uniform(op.primary, bound)


def test_scaled_is_the_default():
    torch.manual_seed(0)
    op = LinearConv2d(nn.Conv2d(64, 256, 3, bias=True))
    assert op.settings.start == 'scaled'
    assert not op.bias.any()
    assert uniform(op.combination, math.sqrt(3 / 128))
    assert float(op.primary.detach().std()) == pytest.approx(math.sqrt(2 / (256 * 9)), rel=0.02)


def test_without_bias():
    assert LinearConv2d(nn.Conv2d(8, 8, 3, bias=False), start='uniform').bias is None


@pytest.mark.parametrize('value', ['zeros', None, ['uniform']])
def test_wrong_setting(value):
    with pytest.raises(CompressionError, match='start is .* one of scaled, uniform') as raised:
        LinearConv2d(nn.Conv2d(8, 16, 3), start=value)
    assert repr(value) in str(raised.value)


def test_is_no_setting_of_a_start_from_a_dense_network():
    LinearConvUnit('conv', ['conv'], start='uniform')
    with pytest.raises(CompressionError, match="start is 'uniform', but init is 'qr'"):
        LinearConvUnit('conv', ['conv'], start='uniform', init='qr')
