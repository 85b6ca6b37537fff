"""Base of ops that stand in for a convolution, and the way back to a plain one."""

from __future__ import annotations

import copy
from typing import Any

import torch
from mmcv.cnn.bricks.wrappers import Conv2d as MMCVConv2d
from torch import Tensor, nn
from torch.func import functional_call

from .op import Op


class ConvOp(Op, nn.Conv2d):
    """A convolution that takes over the settings and the parameters of another.

    Subclasses name ``nn.Conv2d`` among their bases once more: mmengine's ``init_cfg`` knows layers
    by the names of their class and its direct bases.

    A subclass of ``nn.Conv2d`` with a forward pass of its own (one that pads, or standardises the
    weight) runs that with the weight that the op makes.

    Args:
        conv: The dense convolution to stand in for; see :func:`is_conv`.
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
        # Not registered as a child: it has no tensors of its own.
        self.__dict__['_own_forward'] = None if is_plain_conv(conv) else _without_tensors(conv)
        if hasattr(conv, 'init_cfg'):
            self.init_cfg = conv.init_cfg

    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        layer: Any = self._own_forward
        if layer is None:
            return super()._conv_forward(x, weight, bias)
        tensors = dict(weight=weight) if bias is None else dict(weight=weight, bias=bias)
        return functional_call(layer, tensors, (x,))

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


def is_conv(layer: nn.Module) -> bool:
    """Whether a :class:`ConvOp` may stand in for ``layer``: also for subclasses.

    They have to have a weight, and a bias, and nothing else that makes them what they are.
    """
    if is_plain_conv(layer):
        return True
    hooks: Any = layer._forward_pre_hooks or layer._forward_hooks
    return (
        isinstance(layer, nn.Conv2d)
        and layer._parameters.keys() == {'weight', 'bias'}
        and isinstance(layer.weight, nn.Parameter)
        and not (layer._buffers or layer._modules or hooks)
    )


def _without_tensors(conv: nn.Conv2d) -> nn.Conv2d:
    memo: dict[int, Any] = {
        id(parameter): nn.Parameter(torch.empty_like(parameter, device='meta'))
        for parameter in conv.parameters()
    }
    return copy.deepcopy(conv, memo)


def plain_conv(op: nn.Conv2d, weight: Tensor, bias: Tensor | None) -> nn.Conv2d:
    """A convolution with the settings of ``op``, of the class that it stands in for.

    Args:
        op: Any convolution; its groups have to fit the new weight.
        weight: ``Tensor[n, c / g, k, k]``, taken over as it is.
        bias: ``Tensor[n]`` or ``None``.
    """
    own = getattr(op, '_own_forward', None)
    if own is not None:
        conv = copy.deepcopy(own)
        conv.in_channels, conv.out_channels = weight.shape[1] * op.groups, weight.shape[0]
        conv.weight, conv.bias = weight, bias
        return conv
    with torch.device('meta'):
        conv = nn.Conv2d(
            weight.shape[1] * op.groups,
            weight.shape[0],
            bias=bias is not None,
            **_settings(op),
        )
    conv.weight, conv.bias = weight, bias
    return conv
