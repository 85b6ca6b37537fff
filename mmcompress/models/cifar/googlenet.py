"""GoogLeNet for 32 x 32 images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmcompress.registry import MODELS

from .init import INIT_CFG


def _conv_bn_relu(*layers: tuple[int, int, int], bias: bool) -> nn.Sequential:
    """A chain of convolutions, each with batch norm and ReLU.

    Args:
        layers: ``(in_channels, out_channels, kernel_size)`` of each convolution.
        bias: Whether convolutions have a bias.
    """
    chain = nn.Sequential()
    for i, (in_channels, out_channels, kernel) in enumerate(layers, start=1):
        conv = nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=bias)
        chain.add_module(f'conv{i}', conv)
        chain.add_module(f'bn{i}', nn.BatchNorm2d(out_channels))
        chain.add_module(f'relu{i}', nn.ReLU(inplace=True))
    return chain


class CIFARInception(nn.Module):
    """Four branches over one input, concatenated.

    The 5x5 convolution of Szegedy et al. is two 3x3 here, as in all CIFAR versions.

    Args:
        in_channels: Channels of the input.
        n1x1: Output channels of the 1x1 branch.
        n3x3: Inner and output channels of the 3x3 branch.
        n5x5: Inner and output channels of the branch of two 3x3.
        pool: Output channels of the branch that starts with a max pool.
        bias: Whether convolutions have a bias.
    """

    def __init__(
        self,
        in_channels: int,
        n1x1: int,
        n3x3: tuple[int, int],
        n5x5: tuple[int, int],
        pool: int,
        bias: bool,
    ) -> None:
        super().__init__()
        inner3, outer3 = n3x3
        inner5, outer5 = n5x5
        self.branch1x1 = _conv_bn_relu((in_channels, n1x1, 1), bias=bias)
        self.branch3x3 = _conv_bn_relu((in_channels, inner3, 1), (inner3, outer3, 3), bias=bias)
        self.branch5x5 = _conv_bn_relu(
            (in_channels, inner5, 1), (inner5, outer5, 3), (outer5, outer5, 3), bias=bias
        )
        self.pool = nn.MaxPool2d(3, stride=1, padding=1)
        self.branch_pool = _conv_bn_relu((in_channels, pool, 1), bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``Tensor[N, in_channels, H, W]`` to ``Tensor[N, sum of branches, H, W]``."""
        branches = (
            self.branch1x1(x),
            self.branch3x3(x),
            self.branch5x5(x),
            self.branch_pool(self.pool(x)),
        )
        return torch.cat(branches, dim=1)


@MODELS.register_module()
class CIFARGoogLeNet(BaseModule):
    """GoogLeNet (Szegedy et al., CVPR 2015) in the CIFAR form that HRank and Lin et al. prune.

    A 3x3 stem of 192 channels, nine inceptions, and two max pools, after ``b3`` and ``e4``.

    Args:
        conv_bias: Whether convolutions have a bias, as they do in those authors' code.
        in_channels: Channels of the image.
        init_cfg: mmengine's initialization config.

    Example:
        >>> CIFARGoogLeNet()(torch.rand(1, 3, 32, 32))[-1].shape
        torch.Size([1, 1024, 8, 8])
    """

    # Channels of the 1x1, 3x3 (inner, outer), 5x5 (inner, outer) and pooling branches.
    inceptions: ClassVar[dict[str, tuple]] = {
        'a3': (64, (96, 128), (16, 32), 32),
        'b3': (128, (128, 192), (32, 96), 64),
        'a4': (192, (96, 208), (16, 48), 64),
        'b4': (160, (112, 224), (24, 64), 64),
        'c4': (128, (128, 256), (24, 64), 64),
        'd4': (112, (144, 288), (32, 64), 64),
        'e4': (256, (160, 320), (32, 128), 128),
        'a5': (256, (160, 320), (32, 128), 128),
        'b5': (384, (192, 384), (48, 128), 128),
    }
    pool_after = ('b3', 'e4')

    def __init__(
        self,
        conv_bias: bool = False,
        in_channels: int = 3,
        init_cfg: dict | Sequence[dict] | None = INIT_CFG,
    ) -> None:
        super().__init__(init_cfg)
        channels = 192
        self.stem = _conv_bn_relu((in_channels, channels, 3), bias=conv_bias)
        for name, (n1x1, n3x3, n5x5, pool) in self.inceptions.items():
            self.add_module(name, CIFARInception(channels, n1x1, n3x3, n5x5, pool, conv_bias))
            channels = n1x1 + n3x3[1] + n5x5[1] + pool
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Map ``Tensor[N, 3, H, W]`` to a tuple of one ``Tensor[N, 1024, H / 4, W / 4]``."""
        x = self.stem(x)
        for name in self.inceptions:
            x = getattr(self, name)(x)
            if name in self.pool_after:
                x = self.pool(x)
        return (x,)
