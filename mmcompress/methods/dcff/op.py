"""The op of DCFF: a convolution whose filters are mixtures of a larger set."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from mmengine.dist import broadcast
from torch import Tensor, nn

from mmcompress.core.base.conv_op import ConvOp, plain_conv
from mmcompress.core.layers.narrow import narrow
from mmcompress.registry import MODELS

from .importance import proxies


@MODELS.register_module()
class FusedConv2d(ConvOp, nn.Conv2d):
    """Convolution with ``W~ = P~ W``: m filters, each a fixed mixture of n trained ones.

    ``P~`` is constant between two calls of :meth:`fuse`; gradients reach all n filters. The
    proxies, the importance scores and the choice of filters are buffers: a checkpoint evaluates to
    the same numbers after loading, and goes on from the same choice. Files without the choice, of
    earlier versions, load too: the proxies show it.

    Args:
        conv: The dense convolution to stand in for, ``weight`` of ``Tensor[n, c / g, k, k]``.

    Attributes:
        weight: ``Tensor[n, c' / g, k, k]``; :meth:`narrow` makes ``c'`` the compact width of
            the producer.
        proxies: ``Tensor[m, n]``, ``P~``, block-diagonal over ``runs``.
        importance: ``Tensor[n]``, the last scores that told filters apart; zeros before the first
            fuse step.
        chosen: ``BoolTensor[n]``, the filters that the fused ones stand for; all False before the
            first fuse step, and in runs that stay as they are.
        runs: Compact and dense width ``(m_i, n_i)`` of consecutive runs of filters. Filters
            mix within their run only.
        mixes: For each run, whether :meth:`fuse` mixes it. A run of ``m_i = n_i`` keeps its filters
            as they are unless :meth:`set_width` says otherwise.

    Source: Lin et al., arXiv:2107.06916, Eq. 5.
    """

    #: What files of earlier versions lack, see ``core.checkpoint.check_fits``.
    derived_buffers = ('chosen',)

    proxies: Tensor
    importance: Tensor
    chosen: Tensor

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__(conv)
        self.register_buffer('proxies', None)
        self.register_buffer('importance', self.weight.new_zeros(self.dense_channels))
        self.register_buffer('chosen', self.importance.bool())
        self.runs = [(self.dense_channels, self.dense_channels)]
        self.mixes = [False]
        self._reset_proxies()

    def set_width(self, start: int, end: int, width: int, fuse_all: bool = False) -> None:
        """Let filters ``start`` to ``end`` become ``width`` fused ones.

        In a grouped convolution, whose groups see different inputs, each group fuses its own.

        Args:
            start: First filter.
            end: One past the last.
            width: How many they become.
            fuse_all: Whether as many fused filters as filters are mixtures too.

        Raises:
            ValueError: If the range has been set before, or cuts through groups.
        """
        size = self.dense_channels // self.groups
        if self.groups > 1 and (start % size or end % size):
            raise ValueError('part of a group cannot be fused')
        groups = max((end - start) // size, 1)
        runs, mixes, position, found = [], [], 0, False
        for (m, n), mixed in zip(self.runs, self.mixes, strict=True):
            if position <= start and end <= position + n and m == n and not mixed:
                found = True
                before, inside, after = start - position, end - start, position + n - end
                each = (width // groups, inside // groups)
                pieces = [(before, before), *[each] * groups, (after, after)]
                mixing = [False, *[fuse_all or width < inside] * groups, False]
                kept = [i for i, (_, count) in enumerate(pieces) if count]
                runs += [pieces[i] for i in kept]
                mixes += [mixing[i] for i in kept]
            else:
                runs.append((m, n))
                mixes.append(mixed)
            position += n
        if not found:
            raise ValueError(f'filters {start} to {end} are not one unfused run')
        self.runs, self.mixes = runs, mixes
        self._reset_proxies()

    def _reset_proxies(self) -> None:
        """A valid network before the first fuse step: the first filters of each run."""
        self.out_channels = sum(m for m, _ in self.runs)
        self.proxies = self.weight.new_zeros(self.out_channels, self.dense_channels)
        for rows, columns in self.blocks():
            self.proxies[rows, columns].fill_diagonal_(1)

    def blocks(self) -> Iterator[tuple[slice, slice]]:
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
        """Recompute proxies, importance and choice from the present filters.

        Where scores do not tell filters apart, as proxies that are all one-hot can't, importance
        and choice are those of the last fuse step. All ranks take those of the first.

        Args:
            temp: Temperature ``T``.
        """
        for mixed, (rows, columns) in zip(self.mixes, self.blocks(), strict=True):
            if mixed:
                m, before = rows.stop - rows.start, self.chosen[columns]
                found = proxies(self.weight[columns], temp, m, before)
                order = _places(self.proxies[rows, columns], before, found.chosen)
                self.proxies[rows, columns] = found.rows if order is None else found.rows[order]
                last = self.importance[columns]
                self.importance[columns] = torch.where(found.separates, found.score, last)
                self.chosen[columns] = found.chosen
        chosen = self.chosen.byte()
        for tensor in (self.proxies, self.importance, chosen):
            broadcast(tensor)
        self.chosen.copy_(chosen)

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
        weight: Any
        weight, bias = (None if t is None else t.detach().clone() for t in self.fused())
        return plain_conv(self, nn.Parameter(weight), None if bias is None else nn.Parameter(bias))

    def fill_missing(self, state: dict[str, Tensor], prefix: str) -> None:
        """Complete a checkpoint: dense ones lack the proxies, older ones the choice."""
        if not any(f'{prefix}{name}' in state for name in ('proxies', 'importance', 'chosen')):
            super().fill_missing(state, prefix)
            return
        kept = [f'{prefix}{name}' for name in ('proxies', 'importance')]
        if f'{prefix}chosen' not in state and all(key in state for key in kept):
            state[f'{prefix}chosen'] = self.chosen_by(*(state[key] for key in kept))

    def chosen_by(self, proxies: Tensor, importance: Tensor) -> Tensor:
        """The choice that proxies show: no filter is nearer to another than to itself."""
        chosen = torch.zeros_like(importance, dtype=torch.bool)
        if proxies.shape != self.proxies.shape:
            return chosen  # of another network; loading says so
        for mixed, (rows, columns) in zip(self.mixes, self.blocks(), strict=True):
            if mixed and importance[columns].any():
                chosen[columns.start + _filters(proxies[rows, columns])] = True
        return chosen

    def extra_repr(self) -> str:
        """Layer arguments as for a convolution, and the number of trained filters."""
        return f'{super().extra_repr()}, filters={self.dense_channels}'


def _filters(rows: Tensor) -> Tensor:
    """``LongTensor[m]``: the filter that each row of proxies stands for."""
    filters = rows.argmax(dim=1)
    if len(filters.unique()) == len(filters):
        return filters
    # Equal filters have equal shares, and are chosen one after the other.
    taken = torch.zeros_like(rows[0], dtype=torch.bool)
    for index, row in enumerate(rows):
        filters[index] = row.masked_fill(taken, -1).argmax()
        taken[filters[index]] = True
    return filters


def _places(rows: Tensor, before: Tensor, chosen: Tensor) -> Tensor | None:
    """Which row of new proxies each place takes, while the choice of filters stays.

    Norms and later layers know filters by their places. New rows are in the order of the filters,
    which those of a converted checkpoint need not be in.

    Args:
        rows: ``Tensor[m, n]``, the last proxies.
        before: ``BoolTensor[n]``, their filters.
        chosen: ``BoolTensor[n]``, the filters of the new ones.

    Returns:
        ``LongTensor[m]``; ``None`` if the choice is another one.
    """
    if not torch.equal(before, chosen):
        return None
    filters = _filters(rows)
    return filters.argsort().argsort()
