"""Bicubic interpolation in the place of a network: what every network has to beat."""

from __future__ import annotations

from mmengine.model import BaseModule
from torch import Tensor

from mmcompress.datasets.sr.bicubic import RADIUS, imresize
from mmcompress.registry import MODELS


@MODELS.register_module()
class Bicubic(BaseModule):
    """Enlarges images as MATLAB's ``imresize`` does; it has no parameters.

    As the ``backbone`` of a :class:`~mmcompress.models.sr.super_resolution.SuperResolver` it gives
    the
    metrics of the baseline on the same data, and its images are those of any other model. The
    kernel's weights sum to one, so it doesn't matter that the data preprocessor takes off a mean.

    Args:
        scale: How much larger images become, a whole number.
        init_cfg: For the registry; there is nothing to initialize.

    Attributes:
        reach: How far from a pixel it looks, which is how far tiles have to overlap.
        free_size: Its weights depend on the size, which a graph can't leave open.

    Example:
        >>> Bicubic(scale=3)(torch.rand(1, 3, 12, 10)).shape
        torch.Size([1, 3, 36, 30])
    """

    reach = RADIUS
    free_size = False

    def __init__(self, scale: int = 2, init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        """Map ``Tensor[N, C, H, W]`` to ``Tensor[N, C, scale H, scale W]``."""
        return imresize(x, self.scale)
