"""Base of ops that stand in for a convolution, and the way back to a plain one."""

from __future__ import annotations

from typing import Any

import torch
from mmcv.cnn.bricks.wrappers import Conv2d as MMCVConv2d
from torch import Tensor, nn

from .op import Op


class ConvOp(Op, nn.Conv2d):
    """A convolution that takes over the settings and the parameters of another.

    Subclasses name ``nn.Conv2d`` among their bases once more: mmengine's ``init_cfg`` knows layers
    by the names of their class and its direct bases.

    Args:
        conv: The dense convolution to stand in for.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__(
            conv.in_channels,
            conv.out_channels,
            bias=conv.bias is not None,
            device='meta',
            **_settings(conv),
        )
        self.weight, self.bias = conv.weight, conv.bias
        if hasattr(conv, 'init_cfg'):
            self.init_cfg = conv.init_cfg

    def fill_missing(self, state: dict[str, Tensor], prefix: str) -> None:
        """Add the entries that a dense checkpoint lacks, if it has the weight of this layer."""
        if f'{prefix}weight' in state:
            super().fill_missing(state, prefix)


def _settings(conv: nn.Conv2d) -> dict[str, Any]:
    names = ('kernel_size', 'stride', 'padding', 'dilation', 'groups', 'padding_mode')
    return {name: getattr(conv, name) for name in names}


def is_plain_conv(layer: nn.Module) -> bool:
    """Whether an op may stand in for ``layer``: a 2-d convolution, or such an op already.

    Any other subclass with a forward of its own would lose it, and so would a weight that a hook
    makes before each forward pass (weight norm, spectral norm).
    """
    plain = type(layer) in (nn.Conv2d, MMCVConv2d) and isinstance(layer.weight, nn.Parameter)
    return plain or isinstance(layer, ConvOp)


def plain_conv(op: nn.Conv2d, weight: Tensor, bias: Tensor | None) -> nn.Conv2d:
    """A plain convolution with the settings of ``op``.

    Args:
        op: Any convolution; its groups have to fit the new weight.
        weight: ``Tensor[n, c / g, k, k]``, taken over as it is.
        bias: ``Tensor[n]`` or ``None``.
    """
    with torch.device('meta'):
        conv = nn.Conv2d(
            weight.shape[1] * op.groups,
            weight.shape[0],
            bias=bias is not None,
            **_settings(op),
        )
    conv.weight, conv.bias = weight, bias
    return conv
