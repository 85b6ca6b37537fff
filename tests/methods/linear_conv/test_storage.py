"""methods/linear_conv/storage.py: what is stored makes the weight again."""

import math

import pytest
import torch
from torch import nn

from mmcompress.core import CompressionError
from mmcompress.methods.linear_conv import LinearConv2d
from mmcompress.methods.linear_conv.storage import (
    linear_conv_factors,
    pack_mask,
    unpack_mask,
)

VARIANTS = dict(
    linear={},
    lowrank=dict(rank=1),
    rankratio=dict(rank_ratio=0.6),
    sparse=dict(target_sparsity=0.5),
)


def op_of(variant, groups=1, primary_ratio=0.5):
    conv = nn.Conv2d(8, 16, 3, groups=groups)
    return LinearConv2d(conv, variant=variant, primary_ratio=primary_ratio, **VARIANTS[variant])


@pytest.mark.parametrize('shape', [(1, 3, 5), (2, 4, 4), (1, 0, 3), (1, 1, 1), (4, 9, 7)])
def test_bits_there_and_back(shape):
    mask = torch.rand(shape) > 0.4
    bits = pack_mask(mask)
    assert bits.dtype == torch.uint8
    assert bits.shape == (math.ceil(mask.numel() / 8),)
    assert torch.equal(unpack_mask(bits, shape), mask)


def test_bits_by_hand():
    mask = torch.tensor([[True, False, False, False, False], [False, False, True, True, False]])
    assert pack_mask(mask).tolist() == [0b10000001, 0b10000000]


def test_bits_of_another_matrix():
    with pytest.raises(CompressionError, match='the mask has 2 bytes; 24 bits take 3'):
        unpack_mask(pack_mask(torch.ones(4, 4) > 0), (1, 4, 6))


@pytest.mark.parametrize('groups', [1, 2, 8])
@pytest.mark.parametrize('variant', VARIANTS)
def test_the_weight_of_a_static_layer(variant, groups):
    op = op_of(variant, groups)
    if variant == 'sparse':
        op.mask.copy_(torch.rand(op.mask.shape) > 0.5)
    recipe = op.recipes()['weight']
    assert (recipe.function, recipe.settings) == ('LinearConvFactors', dict(groups=groups))
    weight = linear_conv_factors(recipe.tensors, op.dense_shape, **recipe.settings)
    assert weight.dtype == torch.float64
    assert torch.equal(weight.float(), op.to_static().weight)
    torch.testing.assert_close(weight.float(), op.filters())


def test_only_what_is_left_is_stored():
    op = op_of('sparse')
    op.mask.fill_(False)
    op.mask[0, 2, 3] = op.mask[0, 5, 1] = True
    tensors = op.stored()
    assert set(tensors) == {'primary', 'values', 'mask'}
    expected = op.combination.detach()[0, [2, 5], [3, 1]]
    assert torch.equal(tensors['values'], expected)
    assert tensors['mask'].numel() == 8  # 64 entries
    with pytest.raises(CompressionError, match='3 values, but 2 entries'):
        tensors['values'] = torch.ones(3)
        linear_conv_factors(tensors, op.dense_shape, 1)


@pytest.mark.parametrize(
    ('filters', 'dtype'), [(16, torch.int16), (32767, torch.int16), (32768, torch.int32)]
)
def test_the_order_is_stored_where_there_is_one(filters, dtype):
    op = LinearConv2d(nn.Conv2d(1, filters, 1), variant='lowrank', rank=1, primary_ratio=0.001)
    assert 'order' not in op.stored()
    op.order.copy_(torch.randperm(filters))
    tensors = op.stored()
    assert tensors['order'].dtype == dtype
    weight = linear_conv_factors(tensors, op.dense_shape, 1)
    assert torch.equal(weight.float(), op.to_static().weight)


def test_double_precision_stays():
    op = op_of('linear').double()
    weight = linear_conv_factors(op.stored(), op.dense_shape, 1)
    assert weight.dtype == torch.float64
    assert torch.equal(weight, op.filters())
