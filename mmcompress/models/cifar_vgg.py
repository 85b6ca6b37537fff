"""VGG for 32 x 32 images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from mmengine.model import BaseModule
from torch import Tensor, nn

from ..registry import MODELS
from .init import INIT_CFG


@MODELS.register_module()
class CIFARVGG(BaseModule):
    """The convolutions of VGG (Simonyan & Zisserman, ICLR 2015), without its hidden linear layers.

    On CIFAR the 512 features that are left after pooling go straight into one linear classifier.
    Layers are called as in the papers: ``stage3.conv2`` is conv3_2.

    Args:
        depth: 11, 13, 16 or 19, counting the three linear layers of the original.
        with_bn: Whether a batch norm follows each convolution.
        conv_bias: Whether convolutions have a bias. The DCFF authors' VGG-16 has biases and batch
            norms (14,728,266 parameters with 10 classes), the dense count of the filter-basis
            authors neither (14,715,594).
        last_pool: Whether a max pool ends the fifth stage as it does the others. Without it that
            stage is left at 1/16 of the resolution, for the neck to average.
        in_channels: Channels of the image.
        init_cfg: mmengine's initialization config.

    Raises:
        ValueError: If ``depth`` is unknown.

    Example:
        >>> CIFARVGG(16)(torch.rand(1, 3, 32, 32))[-1].shape
        torch.Size([1, 512, 2, 2])
    """

    widths = (64, 128, 256, 512, 512)
    convs_per_stage: ClassVar[dict[int, tuple[int, ...]]] = {
        11: (1, 1, 2, 2, 2),
        13: (2, 2, 2, 2, 2),
        16: (2, 2, 3, 3, 3),
        19: (2, 2, 4, 4, 4),
    }

    def __init__(
        self,
        depth: int = 16,
        with_bn: bool = True,
        conv_bias: bool = False,
        last_pool: bool = False,
        in_channels: int = 3,
        init_cfg: dict | Sequence[dict] | None = INIT_CFG,
    ) -> None:
        super().__init__(init_cfg)
        if depth not in self.convs_per_stage:
            raise ValueError(f'depth={depth} is unknown; valid: {tuple(self.convs_per_stage)}.')
        counts = self.convs_per_stage[depth]
        channels = in_channels
        for index, (width, count) in enumerate(zip(self.widths, counts, strict=True), start=1):
            stage = nn.Sequential()
            for i in range(1, count + 1):
                conv = nn.Conv2d(channels, width, 3, padding=1, bias=conv_bias)
                stage.add_module(f'conv{i}', conv)
                if with_bn:
                    stage.add_module(f'bn{i}', nn.BatchNorm2d(width))
                stage.add_module(f'relu{i}', nn.ReLU(inplace=True))
                channels = width
            if index < len(counts) or last_pool:
                stage.add_module('pool', nn.MaxPool2d(2))
            self.add_module(f'stage{index}', stage)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Map ``Tensor[N, 3, H, W]`` to a tuple of one ``Tensor[N, 512, H / 16, W / 16]``."""
        for index in range(1, len(self.widths) + 1):
            x = getattr(self, f'stage{index}')(x)
        return (x,)
