"""EDSR: residual blocks without norms, and sub-pixel upsampling."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmcompress.models.decomposed import build_conv
from mmcompress.registry import MODELS

from .upsampler import PixelShuffleUpsampler


class EDSRBlock(nn.Module):
    """Two 3x3 convolutions with biases, and a shortcut around them.

    Args:
        width: Channels.
        res_scale: What the convolutions' output is multiplied by before it is added.
        conv_cfg: Config of both convolutions.
    """

    def __init__(self, width: int, res_scale: float = 1.0, conv_cfg: dict | None = None) -> None:
        super().__init__()
        self.conv1 = build_conv(conv_cfg, width, width, 3, padding=1)
        self.relu = nn.ReLU(inplace=conv_cfg is None)  # what stands before may need its output
        self.conv2 = build_conv(conv_cfg, width, width, 3, padding=1)
        self.res_scale = res_scale

    def forward(self, x: Tensor) -> Tensor:
        """Map ``Tensor[N, width, H, W]`` to one of the same shape."""
        out = self.conv2(self.relu(self.conv1(x)))
        return x + (out if self.res_scale == 1 else out * self.res_scale)


class MeanShift(nn.Module):
    """A fixed 1x1 convolution that adds a colour.

    No ``nn.Conv2d``, so that nobody takes it for a layer to compress.

    Args:
        shift: What is added to each channel.
    """

    def __init__(self, shift: Sequence[float]) -> None:
        super().__init__()
        weight = torch.eye(len(shift))[:, :, None, None]
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.bias = nn.Parameter(torch.tensor(shift, dtype=torch.float), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``Tensor[N, C, H, W]`` to one of the same shape."""
        return F.conv2d(x, self.weight, self.bias)


@MODELS.register_module()
class EDSR(BaseModule):
    """Enhanced deep super-resolution network (Lim et al., CVPR workshops 2017).

    A 3x3 convolution, residual blocks and one more convolution with a shortcut around them all,
    sub-pixel upsampling, and a 3x3 convolution to the colours. Every convolution has a bias.

    Args:
        num_blocks: Residual blocks; 32 in EDSR, 16 in its baseline, 8 in EDSR-8-128 of the filter
            basis paper.
        width: Channels; 256 in EDSR, 64 in its baseline.
        scale: 2, 3, 4 or 8.
        res_scale: What residuals are multiplied by; 0.1 in EDSR, 1 in the smaller ones.
        in_channels: Channels of the image.
        mean: Colour that the network takes off its input and adds to its output, in their units.
            The authors' networks have two layers for it, of 12 parameters each, which never change
            and which published counts include. ``None`` leaves it to the data preprocessor.
        conv_cfg: Config of the convolutions in blocks, see :mod:`mmcompress.models.decomposed`.
        init_cfg: mmengine's initialization config; ``None`` for PyTorch's own, as published.

    Attributes:
        has_mean: Whether the network takes off a mean itself.

    Raises:
        ValueError: If the scale is unknown, a size is not positive, or the mean is not one number
            for each channel.

    Example:
        >>> EDSR(num_blocks=8, width=128, scale=4)(torch.rand(1, 3, 12, 10)).shape
        torch.Size([1, 3, 48, 40])
    """

    def __init__(
        self,
        num_blocks: int = 16,
        width: int = 64,
        scale: int = 4,
        res_scale: float = 1.0,
        in_channels: int = 3,
        mean: Sequence[float] | None = None,
        conv_cfg: dict | None = None,
        init_cfg: dict | Sequence[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if num_blocks < 1 or width < 1:
            raise ValueError(f'num_blocks={num_blocks}, width={width} have to be positive.')
        if mean is not None and len(mean) != in_channels:
            raise ValueError(f'mean={mean} has to be {in_channels} numbers, one for each channel.')
        self.scale = scale
        self.has_mean = mean is not None
        self.sub_mean = nn.Identity() if mean is None else MeanShift([-value for value in mean])
        self.head = nn.Conv2d(in_channels, width, 3, padding=1)
        self.blocks = nn.Sequential(
            *(EDSRBlock(width, res_scale, conv_cfg) for _ in range(num_blocks))
        )
        self.fuse = nn.Conv2d(width, width, 3, padding=1)
        self.upsample = PixelShuffleUpsampler(scale, width)
        self.tail = nn.Conv2d(width, in_channels, 3, padding=1)
        self.add_mean = nn.Identity() if mean is None else MeanShift(mean)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``Tensor[N, C, H, W]`` to ``Tensor[N, C, scale H, scale W]``."""
        x = self.head(self.sub_mean(x))
        x = x + self.fuse(self.blocks(x))
        return self.add_mean(self.tail(self.upsample(x)))
