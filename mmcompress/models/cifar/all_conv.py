"""The all-convolutional network for 32 x 32 images."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmcompress.registry import MODELS

from .init import INIT_CFG


class AlwaysDropout(nn.Dropout):
    """Dropout that drops whatever the mode."""

    def forward(self, x: Tensor) -> Tensor:
        """Zero entries of ``Tensor[...]`` by chance, and scale the others."""
        return F.dropout(x, self.p, True, self.inplace)


@MODELS.register_module()
class AllConv(BaseModule):
    """All-CNN-C (Springenberg et al., ICLR 2015 workshop): convolutions in place of pooling.

    As in Kahatapitiya & Rodrigo (WACV 2021): every convolution has a bias and a ReLU,
    the last one too, there is no batch norm, and ``conv7`` is padded. 1,369,738 parameters with 10
    classes.

    There is no linear classifier: the last convolution has a filter for each class, and its maps
    are averaged. So the head is mmpretrain's ``ClsHead``, which has no weights, behind a
    ``GlobalAveragePooling``.

    Args:
        num_classes: Filters of the last convolution.
        in_channels: Channels of the image.
        conv8_padding: Padding of the 1x1 ``conv8``. In the authors' program it is 1 wherever
            ``conv8`` is compressed, which puts a border of ``relu(bias)`` around its maps.
        dropout_in_evaluation: Whether dropout drops in evaluation too, as in the authors' program.
            Evaluations are random then.
        init_cfg: mmengine's initialization config.

    Example:
        >>> AllConv()(torch.rand(1, 3, 32, 32))[-1].shape
        torch.Size([1, 10, 8, 8])
    """

    #: Output channels, kernel size and stride of ``conv1`` to ``conv8``.
    convs = (
        (96, 3, 1),
        (96, 3, 1),
        (96, 3, 2),
        (192, 3, 1),
        (192, 3, 1),
        (192, 3, 2),
        (192, 3, 1),
        (192, 1, 1),
    )

    def __init__(
        self,
        num_classes: int = 10,
        in_channels: int = 3,
        conv8_padding: int = 0,
        dropout_in_evaluation: bool = False,
        init_cfg: dict | Sequence[dict] | None = INIT_CFG,
    ) -> None:
        super().__init__(init_cfg)
        dropout = AlwaysDropout if dropout_in_evaluation else nn.Dropout
        self.layers = nn.Sequential()
        self.layers.add_module('drop0', dropout(0.2))
        channels = in_channels
        last = (num_classes, 1, 1)
        for i, (width, kernel, stride) in enumerate((*self.convs, last), start=1):
            padding = conv8_padding if i == len(self.convs) else kernel // 2
            conv = nn.Conv2d(channels, width, kernel, stride, padding=padding)
            self.layers.add_module(f'conv{i}', conv)
            self.layers.add_module(f'relu{i}', nn.ReLU(inplace=True))
            if stride > 1:
                self.layers.add_module(f'drop{i}', dropout(0.5))
            channels = width

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Map ``Tensor[N, in_channels, H, W]`` to one ``Tensor[N, classes, H / 4, W / 4]``.

        Padding of ``conv8`` adds twice its size to height and width of the output.
        """
        return (self.layers(x),)
