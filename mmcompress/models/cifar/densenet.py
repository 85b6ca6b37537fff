"""DenseNet for 32 x 32 images."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmcompress.models.decomposed import build_conv
from mmcompress.registry import MODELS

from .init import INIT_CFG


class CIFARDenseLayer(nn.Module):
    """Batch norm, ReLU and a 3x3 convolution, whose output is appended to the input.

    Args:
        in_channels: Channels of the input.
        growth: Channels that the layer adds.
        bottleneck: Whether the same with a 1x1 convolution to ``4 * growth`` channels comes first.
        conv_cfg: Config of the 3x3 convolution.
    """

    def __init__(
        self, in_channels: int, growth: int, bottleneck: bool, conv_cfg: dict | None = None
    ) -> None:
        super().__init__()
        body = []
        if bottleneck:
            body.append((in_channels, 4 * growth, 1))
            in_channels = 4 * growth
        body.append((in_channels, growth, 3))
        self.body = nn.Sequential()
        for i, (inputs, outputs, kernel) in enumerate(body, start=1):
            cfg = conv_cfg if kernel == 3 else None
            conv = build_conv(cfg, inputs, outputs, kernel, padding=kernel // 2, bias=False)
            self.body.add_module(f'bn{i}', nn.BatchNorm2d(inputs))
            self.body.add_module(f'relu{i}', nn.ReLU(inplace=True))
            self.body.add_module(f'conv{i}', conv)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``Tensor[N, in_channels, H, W]`` to ``Tensor[N, in_channels + growth, H, W]``."""
        return torch.cat((x, self.body(x)), dim=1)


class ResidualTransition(nn.Module):
    """Two 1x1 convolutions with few channels between, a shortcut around them, and pooling.

    Args:
        channels: Channels of the input, and of the output.
        reduction: Part of them that the first convolution leaves.
    """

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv1 = nn.Conv2d(channels, channels // reduction, 1, bias=False)
        self.conv2 = nn.Conv2d(channels // reduction, channels, 1, bias=False)
        self.pool = nn.AvgPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``Tensor[N, channels, H, W]`` to ``Tensor[N, channels, H / 2, W / 2]``."""
        return self.pool(self.conv2(self.conv1(self.relu(self.bn(x)))) + x)


def _transition(in_channels: int, out_channels: int, act: bool) -> nn.Sequential:
    chain = nn.Sequential()
    chain.add_module('bn', nn.BatchNorm2d(in_channels))
    if act:
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
        transition_reduction: ``None`` for a transition of one 1x1 convolution. A number t for two
            of them, with c / t of the c channels between, and a shortcut around both: the filter
            basis authors' ``transition_group``. It keeps all channels, so ``compression`` is 1.
        transition_act: Whether there is a ReLU between norm and convolution of a transition; none
            in the program of the shared basis authors.
        in_channels: Channels of the image.
        conv_cfg: Config of the 3x3 convolutions of layers, see :mod:`mmcompress.models.decomposed`.
        init_cfg: mmengine's initialization config.

    Raises:
        ValueError: If ``transition_reduction`` is no positive integer, or ``compression`` isn't 1
            beside it.

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
        transition_reduction: int | None = None,
        transition_act: bool = True,
        in_channels: int = 3,
        conv_cfg: dict | None = None,
        init_cfg: dict | Sequence[dict] | None = INIT_CFG,
    ) -> None:
        super().__init__(init_cfg)
        if transition_reduction is not None:
            if type(transition_reduction) is not int or transition_reduction < 1:
                raise ValueError(
                    f'transition_reduction={transition_reduction!r} is neither None nor a positive '
                    'integer.'
                )
            if compression != 1:
                raise ValueError(
                    f'compression={compression} leaves the shortcut around a transition '
                    f'(transition_reduction={transition_reduction}) other channels; it has to be 1.'
                )
        channels = 2 * growth
        self.conv1 = nn.Conv2d(in_channels, channels, 3, padding=1, bias=False)
        self.blocks: list[str] = []
        for index, depth in enumerate(depths, start=1):
            block = nn.Sequential()
            for _ in range(depth):
                block.append(CIFARDenseLayer(channels, growth, bottleneck, conv_cfg))
                channels += growth
            self._append(f'layer{index}', block)
            if index < len(depths):
                narrowed = int(compression * channels)
                if transition_reduction is None:
                    transition: nn.Module = _transition(channels, narrowed, transition_act)
                else:
                    transition = ResidualTransition(channels, transition_reduction)
                self._append(f'transition{index}', transition)
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
