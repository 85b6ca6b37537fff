"""MobileNetV2 as Kang & Kim and Kahatapitiya & Rodrigo have it."""

from __future__ import annotations

from collections.abc import Sequence

from mmengine.model import BaseModule
from torch import Tensor, nn

from mmcompress.registry import MODELS

from .init import INIT_CFG


class InvertedResidual(nn.Module):
    """A 1x1 convolution to more channels, a depthwise one, and a 1x1 convolution to fewer.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        expansion: How many times more channels there are in between.
        stride: Stride of the depthwise convolution.
        projection: Whether there is a shortcut, of a 1x1 convolution and a batch norm, also where
            the stride is 1 and the numbers of channels differ.
    """

    def __init__(
        self, in_channels: int, out_channels: int, expansion: int, stride: int, projection: bool
    ) -> None:
        super().__init__()
        inner = expansion * in_channels
        self.conv1 = nn.Conv2d(in_channels, inner, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, padding=1, groups=inner, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut: nn.Module | None = None
        if stride == 1 and in_channels == out_channels:
            self.shortcut = nn.Identity()
        elif stride == 1 and projection:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, bias=False), nn.BatchNorm2d(out_channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map ``Tensor[N, in_channels, H, W]`` to ``Tensor[N, out_channels, H', W']``."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        return out if self.shortcut is None else out + self.shortcut(x)


@MODELS.register_module()
class ExpandedMobileNetV2(BaseModule):
    """MobileNetV2 (Sandler et al., CVPR 2018) whose first block has a 1x1 expansion as well.

    This is the network of Kang & Kim (arXiv:2006.05066). Other than mmpretrain's
    ``MobileNetV2``, it expands 32 channels to 32 in its first block, has a bias in its first and
    last convolution, and ReLU instead of ReLU6 in its blocks. Kahatapitiya & Rodrigo
    (arXiv:1907.11432) have neither those biases nor any ReLU6; with their CIFAR form, whose strides
    are (1, 1, 2, 2, 1, 2, 1), and 10 classes there are 2,296,922 parameters.

    Args:
        stem_kernel: Kernel size of the first convolution, whose padding is 1 whatever it is: that
            of 1 for CIFAR makes 34 x 34 of 32 x 32 pixels.
        stem_stride: Stride of the first convolution.
        strides: Stride of the first block of each stage.
        projection: Whether blocks of stride 1 that change the number of channels have a shortcut.
        outer_bias: Whether the first and the last convolution have a bias.
        outer_relu6: Whether a ReLU6 follows them, and not a ReLU.
        in_channels: Channels of the image.
        init_cfg: mmengine's initialization config.

    Raises:
        ValueError: If ``strides`` has not one entry a stage.

    Example:
        >>> ExpandedMobileNetV2()(torch.rand(1, 3, 224, 224))[-1].shape
        torch.Size([1, 1280, 7, 7])
    """

    #: Expansion, channels and blocks of each stage.
    stages = (
        (1, 16, 1),
        (6, 24, 2),
        (6, 32, 3),
        (6, 64, 4),
        (6, 96, 3),
        (6, 160, 3),
        (6, 320, 1),
    )

    def __init__(
        self,
        stem_kernel: int = 3,
        stem_stride: int = 2,
        strides: Sequence[int] = (1, 2, 2, 2, 1, 2, 1),
        projection: bool = False,
        outer_bias: bool = True,
        outer_relu6: bool = True,
        in_channels: int = 3,
        init_cfg: dict | Sequence[dict] | None = INIT_CFG,
    ) -> None:
        super().__init__(init_cfg)
        if len(strides) != len(self.stages):
            raise ValueError(f'strides={tuple(strides)} has not {len(self.stages)} entries.')
        channels = 32
        self.conv1 = nn.Conv2d(
            in_channels, channels, stem_kernel, stem_stride, padding=1, bias=outer_bias
        )
        self.bn1 = nn.BatchNorm2d(channels)
        pairs = zip(self.stages, strides, strict=True)
        for index, ((expansion, width, blocks), first) in enumerate(pairs, start=1):
            stage = nn.Sequential()
            for stride in [first] + [1] * (blocks - 1):
                stage.append(InvertedResidual(channels, width, expansion, stride, projection))
                channels = width
            self.add_module(f'layer{index}', stage)
        self.conv2 = nn.Conv2d(channels, 1280, 1, bias=outer_bias)
        self.bn2 = nn.BatchNorm2d(1280)
        self.outer_relu = nn.ReLU6(inplace=True) if outer_relu6 else nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Map ``Tensor[N, in_channels, H, W]`` to a tuple of one ``Tensor[N, 1280, H', W']``."""
        x = self.outer_relu(self.bn1(self.conv1(x)))
        for index in range(1, len(self.stages) + 1):
            x = getattr(self, f'layer{index}')(x)
        return (self.outer_relu(self.bn2(self.conv2(x))),)
