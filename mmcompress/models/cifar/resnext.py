"""ResNeXt for 32 x 32 images.

A network of mmpretrain with another stem, so this file imports mmpretrain, and is itself imported
where it is needed: ``custom_imports`` of a config names ``mmcompress.models.cifar.resnext``.
"""

from __future__ import annotations

from typing import Any, ClassVar

from mmcv.cnn import build_conv_layer
from mmpretrain.models.backbones import ResNet_CIFAR, ResNeXt

from mmcompress.registry import MODELS


@MODELS.register_module()
class CIFARResNeXt(ResNeXt, ResNet_CIFAR):
    """mmpretrain's ResNeXt with the stem of its ``ResNet_CIFAR``: 3x3, stride 1, no max pool.

    ResNeXt-29 (Xie et al., CVPR 2017) has three stages, and blocks that are as wide again at their
    ends as in between. In the form of Kahatapitiya & Rodrigo (WACV 2021), 2x64d with a
    1x1 stem and 10 classes, there are 9,128,778 parameters.

    Args:
        depth: 29 (three stages, ``num_stages=3``), 50, 101 or 152.
        groups: Groups of the 3x3 convolutions.
        width_per_group: Channels of a group in the first stage.
        stem_kernel: Kernel size of the first convolution.
        **kwargs: See ``ResNet_CIFAR``.

    Example:
        >>> CIFARResNeXt(50, groups=32, width_per_group=4)(torch.rand(1, 3, 32, 32))[-1].shape
        torch.Size([1, 2048, 4, 4])
    """

    arch_settings: ClassVar[dict] = {
        29: (ResNeXt.arch_settings[50][0], (3, 3, 3)),
        **ResNeXt.arch_settings,
    }

    def __init__(self, *args: Any, stem_kernel: int = 3, **kwargs: Any) -> None:
        self.stem_kernel = stem_kernel
        super().__init__(*args, **kwargs)

    def _make_stem_layer(self, in_channels: int, stem_channels: int) -> None:
        super()._make_stem_layer(in_channels, stem_channels)
        kernel = self.stem_kernel
        if kernel != 3:
            self.conv1 = build_conv_layer(
                self.conv_cfg, in_channels, stem_channels, kernel, padding=kernel // 2, bias=False
            )
