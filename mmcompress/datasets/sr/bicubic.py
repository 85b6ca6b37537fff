"""Bicubic resizing as MATLAB's ``imresize`` does it, which is how low-resolution images are made.

The field's data sets (DIV2K's ``LR_bicubic``, the benchmarks) come from MATLAB, and a network that
is trained or tested on another library's bicubic is off by tenths of a dB: others use another
kernel (OpenCV: a = -0.75), no antialiasing, or another treatment of the edges (PyTorch and Pillow
cut the kernel off there, MATLAB mirrors the image).

The kernel is Keys', *Cubic convolution interpolation for digital image processing*, IEEE TASSP
1981, equation 15 (a = -0.5).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

#: The kernel is zero this far from its centre and further.
RADIUS = 2


def cubic(x: Tensor) -> Tensor:
    """Keys' kernel with a = -0.5.

    Args:
        x: ``Tensor[...]``, distances in pixels.

    Returns:
        ``Tensor[...]``: ``1.5|x|^3 - 2.5|x|^2 + 1`` up to 1, ``-0.5|x|^3 + 2.5|x|^2 - 4|x| + 2`` up
        to 2, zero beyond.
    """
    x = x.abs()
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return torch.where(x <= 1, near, torch.where(x <= RADIUS, far, torch.zeros_like(x)))


def contributions(length: int, scale: float) -> tuple[Tensor, Tensor]:
    """Which pixels make a pixel of the resized line, and with what weights.

    Args:
        length: Pixels of the line.
        scale: Pixels out for one in; below 1 the kernel is ``1 / scale`` times as wide, which is
            the antialiasing.

    Returns:
        ``int64[out, taps]`` positions in the line, mirrored at its ends (the pixel at the edge
        twice), and ``float64[out, taps]`` weights, of which each row sums to 1;
        ``out = ceil(length * scale)``.
    """
    shrink = min(scale, 1.0)
    out = torch.arange(1, math.ceil(length * scale) + 1, dtype=torch.float64)
    # Where pixel centres come from: both grids begin at the outer edge of their first pixel.
    # Counted from 1, in this order of operations: so do ties round to MATLAB's side.
    centre = out / scale + 0.5 * (1 - 1 / scale)
    first = (centre - RADIUS / shrink).floor().long()
    taps = math.ceil(2 * RADIUS / shrink) + 2
    positions = first[:, None] + torch.arange(taps)
    weights = cubic((centre[:, None] - positions) * shrink)
    weights /= weights.sum(1, keepdim=True)
    used = (weights != 0).any(0)
    positions, weights = positions[:, used], weights[:, used]
    # A line and its mirror image, repeated without end.
    positions = (positions - 1).remainder(2 * length)
    return torch.where(positions < length, positions, 2 * length - 1 - positions), weights


def imresize(image: Tensor, scale: float) -> Tensor:
    """Resize by bicubic interpolation, as MATLAB's ``imresize(image, scale)``.

    Args:
        image: ``Tensor[..., H, W]``. Floats of any range give floats, not clamped: the kernel
            overshoots at edges. ``uint8`` gives ``uint8``, rounded and clamped.
        scale: Size out for size in, e.g. ``1 / 4``.

    Returns:
        ``Tensor[..., ceil(H * scale), ceil(W * scale)]`` of the same type.

    Raises:
        ValueError: If ``scale`` is not positive, or the image is empty or of whole numbers other
            than ``uint8``.

    Example:
        >>> imresize(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), 0.5)
        tensor([[0.0547, 0.9453]])
    """
    if not scale > 0:
        raise ValueError(f'scale={scale} has to be above 0.')
    whole = image.dtype == torch.uint8
    if not (whole or image.is_floating_point()):
        raise ValueError(f'image is {image.dtype}; it has to be uint8 or of floats.')
    if image.ndim < 2 or not image.numel():
        raise ValueError(f'image is {tuple(image.shape)}; it has to have a height and a width.')
    for dim in (-2, -1):
        image = _resize(image, dim, scale)
        if whole:
            # MATLAB stores what is between the two steps as uint8, too. It rounds halves up.
            image = (image + 0.5).floor().clamp(0, 255).to(torch.uint8)
    return image


def _resize(image: Tensor, dim: int, scale: float) -> Tensor:
    """Resize one dimension, the last or the one before; ``uint8`` gives ``float64``."""
    positions, weights = contributions(image.shape[dim], scale)
    kind = image.dtype if image.is_floating_point() else torch.float64
    weights = weights.to(image.device, kind)
    result: Any = None
    # Few taps, so this never holds more than two images; a gather would hold one for each tap.
    for place, weight in zip(positions.T.to(image.device), weights.T, strict=True):
        part = image.index_select(dim, place) * (weight if dim == -1 else weight[:, None])
        result = part if result is None else result.add_(part)
    return result
