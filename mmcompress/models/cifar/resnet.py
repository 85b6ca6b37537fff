"""ResNet-20, 32, 56 and 110 for 32 x 32 images."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from mmengine.model import BaseModule
from torch import Tensor, nn

from mmcompress.models.decomposed import build_conv
from mmcompress.registry import MODELS

from .init import INIT_CFG
from .pad_shortcut import PadShortcut


def _build_shortcut(kind: str, in_channels: int, out_channels: int, stride: int) -> nn.Module:
    if stride == 1 and in_channels == out_channels:
        return nn.Identity()
    if kind in ('pad', 'pool'):
        return PadShortcut(in_channels, out_channels, stride, pool=kind == 'pool')
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False),
        nn.BatchNorm2d(out_channels),
    )


class CIFARBasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut around them.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of both convolutions.
        stride: Stride of the first convolution and of the shortcut.
        shortcut: ``'pad'``, ``'pool'`` or ``'projection'``; where the shapes agree it is the
            identity.
        conv_cfg: Config of both convolutions.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int,
        shortcut: str,
        conv_cfg: dict | None = None,
    ) -> None:
        super().__init__()
        conv = partial(build_conv, conv_cfg, kernel_size=3, padding=1, bias=False)
        self.conv1 = conv(in_channels, out_channels, stride=stride)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = conv(out_channels, out_channels)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.shortcut = _build_shortcut(shortcut, in_channels, out_channels, stride)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``Tensor[N, in_channels, H, W]`` to ``Tensor[N, out_channels, H', W']``."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return self.relu(out + self.shortcut(x))


@MODELS.register_module()
class CIFARResNet(BaseModule):
    """The CIFAR ResNet of He et al. (CVPR 2016, sec. 4.2): three stages of basic blocks.

    Stages have 16, 32 and 64 channels at full, half and quarter resolution, ``(depth - 2) / 6``
    blocks each. mmpretrain's ``ResNet_CIFAR`` is another network: four stages of 64 to 512.

    Args:
        depth: 6n + 2; the papers use 20, 32, 56 and 110.
        shortcut: What joins two stages: ``'pad'`` (subsampling and zero channels, no parameters),
            ``'pool'`` (the average of 2x2 pixels and zero channels; so in the filter-basis
            authors' code) or ``'projection'`` (1x1 convolution and batch norm).
        stem_bias: Whether the stem convolution has a bias; so in the filter-basis authors' code,
            whose ResNet-56 therefore counts 853,034 parameters instead of 853,018.
        in_channels: Channels of the image.
        conv_cfg: Config of the convolutions in blocks, see :mod:`mmcompress.models.decomposed`.
        init_cfg: mmengine's initialization config.

    Raises:
        ValueError: If ``depth`` is not 6n + 2, or ``shortcut`` is unknown.

    Example:
        >>> CIFARResNet(20)(torch.rand(1, 3, 32, 32))[-1].shape
        torch.Size([1, 64, 8, 8])
    """

    widths = (16, 32, 64)
    shortcuts = ('pad', 'pool', 'projection')

    def __init__(
        self,
        depth: int,
        shortcut: str = 'pad',
        stem_bias: bool = False,
        in_channels: int = 3,
        conv_cfg: dict | None = None,
        init_cfg: dict | Sequence[dict] | None = INIT_CFG,
    ) -> None:
        super().__init__(init_cfg)
        if depth < 8 or (depth - 2) % 6:
            raise ValueError(f'depth={depth} is not 6n + 2 (20, 32, 44, 56, 110, ...).')
        if shortcut not in self.shortcuts:
            raise ValueError(f'shortcut={shortcut!r} is unknown; valid: {self.shortcuts}.')
        blocks = (depth - 2) // 6
        self.conv1 = nn.Conv2d(in_channels, self.widths[0], 3, padding=1, bias=stem_bias)
        self.bn1 = nn.BatchNorm2d(self.widths[0])
        self.relu = nn.ReLU(inplace=True)
        channels = self.widths[0]
        for index, width in enumerate(self.widths, start=1):
            strides = [1 if index == 1 else 2] + [1] * (blocks - 1)
            stage = nn.Sequential()
            for stride in strides:
                stage.append(CIFARBasicBlock(channels, width, stride, shortcut, conv_cfg))
                channels = width
            self.add_module(f'layer{index}', stage)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Map ``Tensor[N, 3, H, W]`` to a tuple of one ``Tensor[N, 64, H / 4, W / 4]``."""
        x = self.relu(self.bn1(self.conv1(x)))
        return (self.layer3(self.layer2(self.layer1(x))),)
