"""DenseNet for 32 x 32 images."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmcompress.registry import MODELS

from .init import INIT_CFG


class CIFARDenseLayer(nn.Module):
    """Batch norm, ReLU and a 3x3 convolution, whose output is appended to the input.

    Args:
        in_channels: Channels of the input.
        growth: Channels that the layer adds.
        bottleneck: Whether the same with a 1x1 convolution to ``4 * growth`` channels comes first.
    """

    def __init__(self, in_channels: int, growth: int, bottleneck: bool) -> None:
        super().__init__()
        body = []
        if bottleneck:
            body.append((in_channels, 4 * growth, 1))
            in_channels = 4 * growth
        body.append((in_channels, growth, 3))
        self.body = nn.Sequential()
        for i, (inputs, outputs, kernel) in enumerate(body, start=1):
            conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
            self.body.add_module(f'bn{i}', nn.BatchNorm2d(inputs))
            self.body.add_module(f'relu{i}', nn.ReLU(inplace=True))
            self.body.add_module(f'conv{i}', conv)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``Tensor[N, in_channels, H, W]`` to ``Tensor[N, in_channels + growth, H, W]``."""
        return torch.cat((x, self.body(x)), dim=1)


def _transition(in_channels: int, out_channels: int) -> nn.Sequential:
    chain = nn.Sequential()
    chain.add_module('bn', nn.BatchNorm2d(in_channels))
    chain.add_module('relu', nn.ReLU(inplace=True))
    chain.add_module('conv', nn.Conv2d(in_channels, out_channels, 1, bias=False))
    chain.add_module('pool', nn.AvgPool2d(2))
    return chain


@MODELS.register_module()
class CIFARDenseNet(BaseModule):
    """The CIFAR DenseNet of Huang et al. (CVPR 2017, sec. 3): a 3x3 stem and no max pool.

    mmpretrain's ``DenseNet`` is that of ImageNet, always with bottlenecks, and its stem leaves a
    sixteenth of the pixels.

    Args:
        depths: Layers of each dense block. DenseNet-40 has ``(12, 12, 12)``, DenseNet-121
            ``(6, 12, 24, 16)`` with bottlenecks.
        growth: Channels that a layer adds.
        bottleneck: Whether layers have a 1x1 convolution in front of their 3x3 convolution.
        compression: Share of the channels that transitions between blocks keep.
        in_channels: Channels of the image.
        init_cfg: mmengine's initialization config.

    Example:
        >>> CIFARDenseNet((12, 12, 12), growth=12)(torch.rand(1, 3, 32, 32))[-1].shape
        torch.Size([1, 456, 8, 8])
    """

    def __init__(
        self,
        depths: Sequence[int],
        growth: int,
        bottleneck: bool = False,
        compression: float = 1.0,
        in_channels: int = 3,
        init_cfg: dict | Sequence[dict] | None = INIT_CFG,
    ) -> None:
        super().__init__(init_cfg)
        channels = 2 * growth
        self.conv1 = nn.Conv2d(in_channels, channels, 3, padding=1, bias=False)
        self.blocks = []
        for index, depth in enumerate(depths, start=1):
            block = nn.Sequential()
            for _ in range(depth):
                block.append(CIFARDenseLayer(channels, growth, bottleneck))
                channels += growth
            self._append(f'layer{index}', block)
            if index < len(depths):
                narrowed = int(compression * channels)
                self._append(f'transition{index}', _transition(channels, narrowed))
                channels = narrowed
        self.bn = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)

    def _append(self, name: str, module: nn.Module) -> None:
        self.add_module(name, module)
        self.blocks.append(name)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Map ``Tensor[N, 3, H, W]`` to a tuple of the last map, one pooling a transition."""
        x = self.conv1(x)
        for name in self.blocks:
            x = getattr(self, name)(x)
        return (self.relu(self.bn(x)),)
