"""Inference for super-resolution: large images in tiles, and the mean over eight orientations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from mmengine.utils import to_2tuple
from torch import Tensor, nn

#: ``Tensor[N, C, H, W]`` to ``Tensor[N, C', scale H, scale W]``.
Network = Callable[[Tensor], Tensor]


def chop_forward(network: Network, x: Tensor, scale: int, tile: int, overlap: int) -> Tensor:
    """Run a network tile by tile, so that memory depends on the tile and not on the image.

    Each tile is seen with ``overlap`` pixels of its surroundings, whose output is thrown away.
    Where ``overlap`` is at least the radius of the network's receptive field the result is that of
    the whole image, for a tile at the border of the image ends there as the image does.

    Args:
        network: Makes an image ``scale`` times as large.
        x: ``Tensor[N, C, H, W]``.
        scale: How much larger.
        tile: Side of a tile, in pixels of ``x``.
        overlap: Pixels of ``x`` around a tile that the network sees as well.

    Returns:
        ``Tensor[N, C', scale H, scale W]``.
    """
    height, width = x.shape[2:]
    if height <= tile and width <= tile:
        return network(x)
    whole: Any = None
    for top in range(0, height, tile):
        bottom = min(top + tile, height)
        rows = slice(max(top - overlap, 0), min(bottom + overlap, height))
        for left in range(0, width, tile):
            right = min(left + tile, width)
            columns = slice(max(left - overlap, 0), min(right + overlap, width))
            part = network(x[..., rows, columns])
            if whole is None:
                whole = part.new_empty(*part.shape[:2], height * scale, width * scale)
            whole[..., top * scale : bottom * scale, left * scale : right * scale] = part[
                ...,
                (top - rows.start) * scale : (bottom - rows.start) * scale,
                (left - columns.start) * scale : (right - columns.start) * scale,
            ]
    return whole


def reach(network: nn.Module) -> int:
    """How far from a pixel a network looks at most, in pixels of its input.

    All its layers with a window, convolutions and poolings, one behind the other, as if none saw
    maps that are larger than the input: a bound for networks whose maps are never smaller. A
    network without any names its ``reach``.
    """
    return getattr(network, 'reach', 0) + sum(
        max(
            d * (k // 2)
            for k, d in zip(
                to_2tuple(layer.kernel_size), to_2tuple(getattr(layer, 'dilation', 1)), strict=True
            )
        )
        for layer in network.modules()
        if hasattr(layer, 'kernel_size')
    )


def self_ensemble(network: Network, x: Tensor) -> Tensor:
    """The mean of what a network makes of an image in its eight orientations.

    Args:
        network: Makes an image larger, by the same factor in both directions.
        x: ``Tensor[N, C, H, W]``.

    Returns:
        ``Tensor[N, C', scale H, scale W]``.

    Source: Lim et al., "Enhanced Deep Residual Networks for Single Image Super-Resolution", CVPR
    workshops 2017, section 3.4 (geometric self-ensemble).
    """
    total: Any = None
    for turns in range(4):
        for flipped in (False, True):
            turned = torch.rot90(x.flip(-1) if flipped else x, turns, (-2, -1))
            result = torch.rot90(network(turned), -turns, (-2, -1))
            result = result.flip(-1) if flipped else result
            total = result if total is None else total + result
    return total / 8
