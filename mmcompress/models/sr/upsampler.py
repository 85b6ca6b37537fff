"""Sub-pixel upsampling, the end of networks for super-resolution."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

#: How much larger each of the steps makes an image, by the scale of the whole.
STEPS: dict[int, tuple[int, ...]] = {2: (2,), 3: (3,), 4: (2, 2), 8: (2, 2, 2)}


class PixelShuffleUpsampler(nn.Sequential):
    """Convolutions to r^2 times the channels, each with a pixel shuffle by r behind it.

    Maps ``Tensor[N, width, H, W]`` to ``Tensor[N, width, scale H, scale W]``.

    Args:
        scale: 2, 3, 4 or 8; 4 and 8 are steps of 2.
        width: Channels.
        activation: Makes the activation behind each step; ``None`` for none.

    Raises:
        ValueError: If there is no such scale.

    Source: Shi et al., "Real-Time Single Image and Video Super-Resolution Using an Efficient
    Sub-Pixel Convolutional Neural Network", CVPR 2016.
    """

    def __init__(
        self, scale: int, width: int, activation: Callable[[], nn.Module] | None = None
    ) -> None:
        super().__init__()
        if scale not in STEPS:
            raise ValueError(f'scale={scale!r} is unknown; valid: {tuple(STEPS)}.')
        for index, step in enumerate(STEPS[scale], start=1):
            self.add_module(f'conv{index}', nn.Conv2d(width, width * step**2, 3, padding=1))
            self.add_module(f'shuffle{index}', nn.PixelShuffle(step))
            if activation is not None:
                self.add_module(f'act{index}', activation())
