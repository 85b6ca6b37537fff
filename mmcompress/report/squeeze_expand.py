"""Running a network whose filters were removed as Li et al. (CVPR 2019) do: a baseline to measure.

Every tensor keeps the width of the dense network. Each convolution takes the channels that are
left of its input (squeeze), convolves them with the filters that are left, and writes the result
into zeros of full width (expand). See :class:`SqueezeExpand`.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from mmcompress.core.layers.narrow import is_convolution
from mmcompress.core.layers.partial_add import name_before
from mmcompress.core.layers.replace import replace_module


class Squeeze(nn.Module):
    """Take ``kept`` of ``channels`` channels."""

    kept: Tensor

    def __init__(self, channels: int, kept: int) -> None:
        super().__init__()
        self.register_buffer('kept', _evenly(channels, kept))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``Tensor[N, channels, H, W]`` to ``Tensor[N, kept, H, W]``."""
        return x.index_select(1, self.kept)


class Expand(nn.Module):
    """Put channels where they were among ``channels``; the others are zero."""

    kept: Tensor

    def __init__(self, channels: int, kept: int) -> None:
        super().__init__()
        self.channels = channels
        self.register_buffer('kept', _evenly(channels, kept))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``Tensor[N, kept, H, W]`` to ``Tensor[N, channels, H, W]``."""
        full = x.new_zeros(x.shape[0], self.channels, *x.shape[2:])
        return full.index_copy(1, self.kept, x)


class SqueezeExpand(nn.Module):
    """A convolution of fewer channels between tensors of full width.

    Args:
        conv: The narrow convolution.
        in_channels: Full width of the input; nothing is squeezed where the convolution has it.
        out_channels: Full width of the output, likewise.
    """

    def __init__(self, conv: Any, in_channels: int, out_channels: int) -> None:
        super().__init__()
        squeezes, expands = conv.in_channels < in_channels, conv.out_channels < out_channels
        self.squeeze = Squeeze(in_channels, conv.in_channels) if squeezes else nn.Identity()
        self.conv = conv
        self.expand = Expand(out_channels, conv.out_channels) if expands else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map ``Tensor[N, in_channels, H, W]`` to ``Tensor[N, out_channels, H', W']``."""
        return self.expand(self.conv(self.squeeze(x)))


def narrowed_convs(dense: nn.Module, compact: nn.Module) -> dict[str, nn.Module]:
    """Convolutions that have fewer channels in ``compact`` than in ``dense``, by name there."""
    convs = {
        name_before(compact, name): module
        for name, module in compact.named_modules()
        if is_convolution(module)
    }
    return {
        name: convs[name]
        for name, conv in dense.named_modules()
        if is_convolution(conv) and name in convs and _differ(conv, convs[name])
    }


def squeeze_expand(dense: nn.Module, compact: nn.Module) -> nn.Module:
    """The dense network, its narrowed convolutions run the authors' way.

    Which channels are kept has no influence on the time; they are taken evenly, so that the
    outputs are not those of ``compact``.

    Args:
        dense: The dense model; left as it is.
        compact: The same model, narrower.
    """
    model = copy.deepcopy(dense)
    for name, conv in narrowed_convs(dense, compact).items():
        wide: Any = dense.get_submodule(name)
        way = SqueezeExpand(copy.deepcopy(conv), wide.in_channels, wide.out_channels)
        replace_module(model, name, way)
    return model


def _differ(one: nn.Module, other: nn.Module) -> bool:
    return (one.in_channels, one.out_channels) != (other.in_channels, other.out_channels)


def _evenly(channels: int, kept: int) -> Tensor:
    """``LongTensor[kept]`` ascending, between 0 and ``channels - 1``."""
    return torch.arange(kept) * channels // kept
