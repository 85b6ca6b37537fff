"""VGG for 32 x 32 images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from mmengine.model import BaseModule
from torch import Tensor, nn

from mmcompress.models.decomposed import build_conv
from mmcompress.registry import MODELS

from .init import INIT_CFG


@MODELS.register_module()
class CIFARVGG(BaseModule):
    """The convolutions of VGG (Simonyan & Zisserman, ICLR 2015), without its hidden linear layers.

    On CIFAR the 512 features that are left after pooling go straight into one linear classifier.
    Layers are called as in the papers: ``stage3.conv2`` is conv3_2.

    Args:
        depth: 11, 13, 16 or 19, counting the three linear layers of the original; or the number of
            convolutions of each stage.
        widths: Channels of each stage, or of each convolution of it.
        with_bn: Whether a batch norm follows each convolution.
        conv_bias: Whether convolutions have a bias. The VGG-16 of Lin et al. has biases and batch
            norms (14,728,266 parameters with 10 classes), the dense count of the filter-basis
            authors neither (14,715,594), that of Kahatapitiya & Rodrigo (VGG-11) both (9,231,114).
        last_pool: Whether a max pool ends the last stage as it does the others. Without it that
            stage is left at its resolution (1/16 of the image's), for the neck to average.
        in_channels: Channels of the image.
        conv_cfg: Config of the convolutions, see :mod:`mmcompress.models.decomposed`.
        num_plain: How many convolutions in front stay plain with ``conv_cfg``.
        init_cfg: mmengine's initialization config.

    Raises:
        ValueError: If ``depth`` is unknown, or not one number for each of ``widths``.

    Example:
        >>> CIFARVGG(16)(torch.rand(1, 3, 32, 32))[-1].shape
        torch.Size([1, 512, 2, 2])
    """

    convs_per_stage: ClassVar[dict[int, tuple[int, ...]]] = {
        11: (1, 1, 2, 2, 2),
        13: (2, 2, 2, 2, 2),
        16: (2, 2, 3, 3, 3),
        19: (2, 2, 4, 4, 4),
    }

    def __init__(
        self,
        depth: int | Sequence[int] = 16,
        widths: Sequence[int | Sequence[int]] = (64, 128, 256, 512, 512),
        with_bn: bool = True,
        conv_bias: bool = False,
        last_pool: bool = False,
        in_channels: int = 3,
        conv_cfg: dict | None = None,
        num_plain: int = 0,
        init_cfg: dict | Sequence[dict] | None = INIT_CFG,
    ) -> None:
        super().__init__(init_cfg)
        counts: Any = depth
        if isinstance(depth, int):
            if depth not in self.convs_per_stage:
                raise ValueError(f'depth={depth} is unknown; valid: {tuple(self.convs_per_stage)}.')
            counts = self.convs_per_stage[depth]
        if len(counts) != len(widths):
            raise ValueError(
                f'depth={depth} is for {len(counts)} stages, widths={tuple(widths)} for '
                f'{len(widths)}.'
            )
        self.num_stages = len(widths)
        channels, built = in_channels, 0
        for index, (given, count) in enumerate(zip(widths, counts, strict=True), start=1):
            stage = nn.Sequential()
            own = [given] * count if isinstance(given, int) else given
            for i, width in enumerate(own, start=1):
                cfg = conv_cfg if built >= num_plain else None
                conv = build_conv(cfg, channels, width, 3, padding=1, bias=conv_bias)
                built += 1
                stage.add_module(f'conv{i}', conv)
                if with_bn and not getattr(conv, 'ends_in_norm', False):
                    stage.add_module(f'bn{i}', nn.BatchNorm2d(width))
                # Another's convolution may end in an activation, which needs its output again.
                stage.add_module(f'relu{i}', nn.ReLU(inplace=cfg is None))
                channels = width
            if index < len(counts) or last_pool:
                stage.add_module('pool', nn.MaxPool2d(2))
            self.add_module(f'stage{index}', stage)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Map ``Tensor[N, in_channels, H, W]`` to a tuple of the last stage's output.

        ``Tensor[N, widths[-1], H / 2^k, W / 2^k]`` for ``k`` pools, by default 4.
        """
        for index in range(1, self.num_stages + 1):
            x = getattr(self, f'stage{index}')(x)
        return (x,)
