"""SRResNet: residual blocks with batch norms, and sub-pixel upsampling."""

from __future__ import annotations

from collections.abc import Sequence

from mmengine.model import BaseModule
from torch import Tensor, nn

from mmcompress.models.decomposed import FactorConv2d, build_conv
from mmcompress.registry import MODELS

from .upsampler import PixelShuffleUpsampler


class SRResNetBlock(nn.Module):
    """Two 3x3 convolutions with biases and batch norms, and a shortcut around them.

    Args:
        width: Channels.
        act: The activation between the two.
        act_last: Whether it follows the second as well.
        conv_cfg: Config of both convolutions; those that have activations run the block's.
    """

    def __init__(
        self, width: int, act: nn.Module, act_last: bool = False, conv_cfg: dict | None = None
    ) -> None:
        super().__init__()
        self.conv1 = build_conv(conv_cfg, width, width, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(width)
        self.act = act
        self.conv2 = build_conv(conv_cfg, width, width, 3, padding=1)
        for conv in (self.conv1, self.conv2):
            if isinstance(conv, FactorConv2d):
                conv.use_act(act)
        self.bn2 = nn.BatchNorm2d(width)
        self.act_last = act_last

    def forward(self, x: Tensor) -> Tensor:
        """Map ``Tensor[N, width, H, W]`` to one of the same shape."""
        out = self.bn2(self.conv2(self.act(self.bn1(self.conv1(x)))))
        return x + (self.act(out) if self.act_last else out)


@MODELS.register_module()
class SRResNet(BaseModule):
    """SRResNet (Ledig et al., CVPR 2017), as the filter basis authors build it.

    A 9x9 convolution, residual blocks, and a convolution and a batch norm with a shortcut around
    them all, sub-pixel upsampling, and a 3x3 convolution to the colours. Every convolution has a
    bias. The PReLU of head and blocks is one, of one slope, and each step of the upsampler has its
    own.

    Args:
        num_blocks: Residual blocks.
        width: Channels.
        scale: 2, 3, 4 or 8.
        in_channels: Channels of the image.
        act_last: Whether an activation ends the residual of each block, as in the network with a
            basis of the filter basis authors.
        conv_cfg: Config of the convolutions in blocks, see :mod:`mmcompress.models.decomposed`.
        init_cfg: mmengine's initialization config; ``None`` for PyTorch's own, as published.

    Raises:
        ValueError: If the scale is unknown.

    Example:
        >>> SRResNet(scale=4)(torch.rand(1, 3, 12, 10)).shape
        torch.Size([1, 3, 48, 40])
    """

    def __init__(
        self,
        num_blocks: int = 16,
        width: int = 64,
        scale: int = 4,
        in_channels: int = 3,
        act_last: bool = False,
        conv_cfg: dict | None = None,
        init_cfg: dict | Sequence[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.scale = scale
        self.act = nn.PReLU()
        self.head = nn.Conv2d(in_channels, width, 9, padding=4)
        self.blocks = nn.Sequential(
            *(SRResNetBlock(width, self.act, act_last, conv_cfg) for _ in range(num_blocks))
        )
        self.fuse = nn.Conv2d(width, width, 3, padding=1)
        self.fuse_bn = nn.BatchNorm2d(width)
        self.upsample = PixelShuffleUpsampler(scale, width, nn.PReLU)
        self.tail = nn.Conv2d(width, in_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``Tensor[N, C, H, W]`` to ``Tensor[N, C, scale H, scale W]``."""
        x = self.act(self.head(x))
        x = x + self.fuse_bn(self.fuse(self.blocks(x)))
        return self.tail(self.upsample(x))
