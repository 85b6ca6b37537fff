"""The threshold that masks small entries of sparse combinations, and its way to a target."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def next_threshold(threshold: Tensor, sparsity: Tensor, target: float, step: float) -> Tensor:
    """The threshold after one update: up where there are too few zeros, down where too many.

    ``theta + step (2 / (1 + 10^(10 (sparsity - target))) - 1)``, which moves by a full step where
    the target is far, and not at all where it is met; never below 0.

    Args:
        threshold: ``theta``, ``Tensor[]``.
        sparsity: Share of entries that are masked, ``Tensor[]``.
        target: Share that is to be.
        step: Most that the threshold moves, in the unit of the entries.

    Returns:
        ``Tensor[]``.

    Source: Kahatapitiya and Rodrigo, arXiv:1907.11432, the sparse version.
    """
    towards = 2 / (1 + 10 ** (10 * (sparsity - target))) - 1
    return (threshold + step * towards).clamp_min(0)


def keep_mask(combination: Tensor, threshold: Tensor) -> Tensor:
    """The entries that stay: ``|A| > theta``.

    Args:
        combination: A, ``Tensor[G, m, p]``.
        threshold: ``theta``, ``Tensor[]``.

    Returns:
        ``bool[G, m, p]``.
    """
    return combination.detach().abs() > threshold


def sparsity(mask: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Share of entries that are masked.

    Args:
        mask: True where an entry stays.
        dtype: Of the share.

    Returns:
        ``Tensor[]``; 0 for a mask without entries.
    """
    return (~mask).sum().to(dtype) / max(mask.numel(), 1)


@torch.no_grad()
def steps_needed(combination: Tensor, threshold: Tensor, target: float, step: float) -> int:
    """Updates without which the threshold doesn't mask the target share of the present entries.

    A bound from below, for entries that stay what they are: updates are shorter than a step where
    the target is near. Reads values off the device, so it's not for every step.

    Args:
        combination: A, ``Tensor[G, m, p]``.
        threshold: ``theta``, ``Tensor[]``.
        target: Share of entries to be masked, from 0 to 1.
        step: Most that one update moves the threshold, positive.

    Returns:
        A number of updates; 0 if so many are masked already.
    """
    sizes = combination.abs().flatten()
    # Rounded, because 0.07 of 100 entries are 7 and not 7.000000000000001.
    masked = math.ceil(round(target * sizes.numel(), 6))
    if not masked:
        return 0
    missing = float(sizes.kthvalue(masked).values) - float(threshold)
    return max(math.ceil(missing / step), 0)
