"""Channels that are chosen by what their readers can do without, and readers that make up for it.

A layer reads x and puts out ``W x``. Without some of its inputs it does best with the weights of
the least squares: ``W' = W C[:, K] C[K, K]^-1``, for the covariance C of all inputs and those, K,
that stay. What it misses then says how much these inputs are worth.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mmcompress.core.channels.config import ChannelRange, UnitConfig

from .moments import Moments


class Reader:
    """A layer that reads the channels of a unit, as the choice of channels sees it.

    Args:
        weight: ``Tensor[m, n]``: what it does with each of n channels, in m ways (filters times
            positions in the kernel).
        covariance: ``Tensor[n, n]`` of the channels, invertible.
    """

    def __init__(self, weight: Tensor, covariance: Tensor) -> None:
        self.weight = weight.double().clone()
        covariance = covariance.double()
        self.energy = float(((self.weight @ covariance) * self.weight).sum()) or 1.0
        self.inverse = torch.linalg.inv(covariance)

    def costs(self) -> Tensor:
        """``Tensor[n]``: by how much the squared error grows without each channel, relatively."""
        diagonal = self.inverse.diagonal().clamp_min(1e-30)
        return self.weight.square().sum(0) / diagonal / self.energy

    def remove(self, channel: int) -> None:
        """Go on without a channel; the others make up for it."""
        column, pivot = self.inverse[:, channel].clone(), self.inverse[channel, channel].clone()
        self.weight -= self.weight[:, channel, None] * (column / pivot)[None]
        self.inverse -= column[:, None] * column[None] / pivot
        self.inverse[channel], self.inverse[:, channel] = 0, 0
        self.weight[:, channel] = 0


def rank(readers: list[Reader], count: int, groups: int = 1) -> Tensor:
    """An order of channels: each time the one goes that costs least, and the others make up for it.

    Args:
        readers: Of the channels.
        count: n, of the channels.
        groups: Equal parts of the channels, which have to lose equally many.

    Returns:
        ``Tensor[n]``; the larger, the later a channel goes.

    Source: Hassibi and Stork, 1993 (optimal brain surgeon), for columns of channels.
    """
    scores = torch.zeros(count)
    left = torch.ones(count, dtype=torch.bool)
    each = count // groups
    for step in range(count):
        costs = sum((reader.costs() for reader in readers), torch.zeros(count).double())
        # The groups take turns.
        turn = torch.zeros(count, dtype=torch.bool)
        part = step % groups
        turn[part * each : (part + 1) * each] = True
        channel = int(costs.masked_fill(~(left & turn), torch.inf).argmin())
        scores[channel] = step
        left[channel] = False
        for reader in readers:
            reader.remove(channel)
    return scores


def reader_of(
    layer: Any, channel: ChannelRange, unit: UnitConfig, moments: Moments
) -> Reader | None:
    """How a layer reads the channels of a unit; ``None`` if it hands each on by itself."""
    if getattr(layer, 'groups', 1) != 1:
        return None
    weight = layer.weight.detach()
    covariance = moments.covariance()[0]
    taps = weight[0, 0].numel() if weight.ndim == 4 else 1
    # A flattened map gives several inputs for each channel: they are read like positions.
    each = (channel.end - channel.start) // unit.num_channels
    start, end = channel.start * taps, channel.end * taps
    width = each * taps
    columns = weight.flatten(1)[:, start:end].unflatten(1, (unit.num_channels, width))
    block = covariance[start:end, start:end]
    block = block.unflatten(0, (-1, width)).unflatten(2, (-1, width))
    return Reader(columns.permute(0, 2, 1).flatten(0, 1), block.diagonal(dim1=1, dim2=3).mean(2))


@torch.no_grad()
def make_up(layer: Any, gone: Tensor, moments: Moments, free_mean: bool) -> None:
    """Let a layer do without some inputs as well as it can, in place.

    Args:
        layer: A convolution, or a matrix.
        gone: ``bool Tensor[c]``, inputs that will be zero.
        moments: Of its inputs, before they were.
        free_mean: Whether something behind the layer takes off the mean of what it puts out.
    """
    groups = getattr(layer, 'groups', 1)
    weight = layer.weight
    taps = weight[0, 0].numel() if weight.ndim == 4 else 1
    bias = getattr(layer, 'bias', None)
    centred = free_mean or isinstance(bias, nn.Parameter)
    covariance = moments.covariance(centred).double()
    lost = gone.view(groups, -1).repeat_interleave(taps, 1)
    rows = weight.detach().double().reshape(groups, len(weight) // groups, -1)
    shift = []
    for own, matrix, away, mean in zip(rows, covariance, lost, moments.mean.double(), strict=True):
        keep = ~away
        if not away.any() or not keep.any():
            shift.append(own[:, away] @ mean[away])
            continue
        wanted = own @ matrix[:, keep]
        better = torch.linalg.solve(matrix[keep][:, keep], wanted.T).T
        shift.append(own @ mean - better @ mean[keep])
        own[:, keep] = better
    weight.copy_(rows.view_as(weight))
    if isinstance(bias, nn.Parameter):
        bias.add_(torch.cat(shift).to(bias))
