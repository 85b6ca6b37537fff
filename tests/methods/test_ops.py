"""What every op that takes a convolution's place has to keep to."""

from __future__ import annotations

import math

import pytest
import torch
from mmengine.model import BaseModule
from torch import nn

from mmcompress.core.base.conv_op import ConvOp
from mmcompress.registry import MODELS

OPS = sorted(
    (op for op in MODELS.module_dict.values() if isinstance(op, type) and issubclass(op, ConvOp)),
    key=lambda op: op.__name__,
)


def test_there_are_ops():
    assert {'FusedConv2d', 'FactorizedConv2d'} <= {op.__name__ for op in OPS}


@pytest.mark.parametrize('op', OPS)
def test_initialised_as_a_convolution(op):
    """A network that trains from scratch starts from the initialisation of its own config."""
    model = BaseModule(dict(type='Kaiming', layer='Conv2d', mode='fan_out'))
    model.conv = op(nn.Conv2d(64, 64, 3))
    model.init_weights()
    torch.testing.assert_close(
        model.conv.weight.std().item(), math.sqrt(2 / (64 * 9)), rtol=0.05, atol=0
    )
