"""The op of DCFF: a convolution whose filters are mixtures of a larger set."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from mmcompress.core.base.conv_op import ConvOp, plain_conv
from mmcompress.core.layers.narrow import narrow
from mmcompress.registry import MODELS

from .importance import proxies


@MODELS.register_module()
class FusedConv2d(ConvOp, nn.Conv2d):
    """Convolution with ``W~ = P~ W``: m filters, each a fixed mixture of n trained ones.

    ``P~`` is constant between two calls of :meth:`fuse`; gradients reach all n filters. The
    proxies and the importance scores are buffers, so a checkpoint evaluates to the same
    numbers after loading.

    Args:
        conv: The dense convolution to stand in for, ``weight`` of ``Tensor[n, c / g, k, k]``.

    Attributes:
        weight: ``Tensor[n, c' / g, k, k]``; :meth:`narrow` makes ``c'`` the compact width of
            the producer.
        proxies: ``Tensor[m, n]``, ``P~``, block-diagonal over ``runs``.
        importance: ``Tensor[n]``.
        runs: Compact and dense width ``(m_i, n_i)`` of consecutive runs of filters. Filters
            mix within their run only; a run with ``m_i = n_i`` keeps its filters as they are.

    Source: Lin et al., arXiv:2107.06916, Eq. 5.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__(conv)
        self.register_buffer('proxies', None)
        self.register_buffer('importance', self.weight.new_zeros(self.dense_channels))
        self.runs = [(self.dense_channels, self.dense_channels)]
        self._reset_proxies()

    def set_width(self, start: int, end: int, width: int) -> None:
        """Let filters ``start`` to ``end`` become ``width`` fused ones.

        In a grouped convolution, whose groups see different inputs, each group fuses its own.

        Raises:
            ValueError: If the range has been set before, or cuts through groups.
        """
        size = self.dense_channels // self.groups
        if self.groups > 1 and (start % size or end % size):
            raise ValueError('part of a group cannot be fused')
        groups = max((end - start) // size, 1)
        runs, position = [], 0
        for m, n in self.runs:
            if position <= start and end <= position + n and m == n:
                pieces = [start - position, end - start, position + n - end]
                each = (width // groups, pieces[1] // groups)
                runs += [(pieces[0],) * 2, *[each] * groups, (pieces[2],) * 2]
            else:
                runs.append((m, n))
            position += n
        self.runs = [run for run in runs if run[1]]
        if sum(m for m, _ in self.runs) != self.out_channels - (end - start) + width:
            raise ValueError(f'filters {start} to {end} are not one unfused run')
        self._reset_proxies()

    def _reset_proxies(self) -> None:
        """A valid network before the first fuse step: the first filters of each run."""
        self.out_channels = sum(m for m, _ in self.runs)
        self.proxies = self.weight.new_zeros(self.out_channels, self.dense_channels)
        for rows, columns in self._blocks():
            self.proxies[rows, columns].fill_diagonal_(1)

    def _blocks(self) -> Iterator[tuple[slice, slice]]:
        """Rows (fused filters) and columns (trained filters) of each run."""
        row = column = 0
        for m, n in self.runs:
            yield slice(row, row + m), slice(column, column + n)
            row, column = row + m, column + n

    @property
    def dense_channels(self) -> int:
        """The number n of trained filters."""
        return self.weight.shape[0]

    @torch.no_grad()
    def fuse(self, temp: float) -> None:
        """Recompute proxies and importance from the present filters.

        Args:
            temp: Temperature ``T``.
        """
        for (m, n), (rows, columns) in zip(self.runs, self._blocks(), strict=True):
            if m < n:
                block, score = proxies(self.weight[columns], temp, m)
                self.proxies[rows, columns] = block
                self.importance[columns] = score

    def fused(self) -> tuple[Tensor, Tensor | None]:
        """``W~`` of ``Tensor[m, c' / g, k, k]`` and the bias of ``Tensor[m]``, if any."""
        weight = (self.proxies @ self.weight.flatten(1)).view(-1, *self.weight.shape[1:])
        return weight, None if self.bias is None else self.proxies @ self.bias

    def forward(self, x: Tensor) -> Tensor:
        """``Tensor[N, c', H, W]`` to ``Tensor[N, m, H', W']``."""
        return self._conv_forward(x, *self.fused())

    def narrow(self, in_keep: Tensor | None, out_keep: Tensor | None) -> None:
        """Take input channels away, in place; the output is compact from the start."""
        if out_keep is not None:
            raise ValueError('the width of a FusedConv2d is that of its proxies')
        if in_keep is None:
            return
        plain = plain_conv(self, self.weight, self.bias)
        narrow(plain, in_keep)
        self.weight, self.in_channels = plain.weight, plain.in_channels

    def to_static(self, form: str | None = None) -> nn.Conv2d:
        """The plain convolution with the fused weight; ``weight`` is detached."""
        weight, bias = (None if t is None else t.detach().clone() for t in self.fused())
        return plain_conv(self, nn.Parameter(weight), None if bias is None else nn.Parameter(bias))

    def extra_repr(self) -> str:
        """Layer arguments as for a convolution, and the number of trained filters."""
        return f'{super().extra_repr()}, filters={self.dense_channels}'
