"""ResNeXt for 32 x 32 images.

A network of mmpretrain with another stem, so this file imports mmpretrain, and is itself imported
where it is needed: ``custom_imports`` of a config names ``mmcompress.models.cifar_resnext``.
"""

from __future__ import annotations

from mmpretrain.models.backbones import ResNet_CIFAR, ResNeXt

from ..registry import MODELS


@MODELS.register_module()
class CIFARResNeXt(ResNeXt, ResNet_CIFAR):
    """mmpretrain's ResNeXt with the stem of its ``ResNet_CIFAR``: 3x3, stride 1, no max pool.

    Args:
        depth: 50, 101 or 152.
        groups: Groups of the 3x3 convolutions.
        width_per_group: Channels of a group in the first stage.
        **kwargs: See ``ResNet_CIFAR``.

    Example:
        >>> CIFARResNeXt(50, groups=32, width_per_group=4)(torch.rand(1, 3, 32, 32))[-1].shape
        torch.Size([1, 2048, 4, 4])
    """
