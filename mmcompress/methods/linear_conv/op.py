"""The op of LinearConv: some filters are linear combinations of the others."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from mmcompress.core.base.op import Recipe
from mmcompress.core.filters.op import FilterOp, Static, double
from mmcompress.registry import MODELS

from .filters import materialise
from .remembered import Remembered
from .settings import Settings
from .storage import pack
from .threshold import keep_mask, next_threshold, sparsity

#: Bound of the authors' combinations and biases at the start.
UNIFORM = 0.1


@MODELS.register_module()
class LinearConv2d(FilterOp):
    """Convolution whose filters are p primary ones and linear combinations of them.

    In each of the G groups of the convolution, ``W = [P; A P]``: combinations are of the filters
    of one group. With ``across_groups`` they are of all filters of the layer, whatever their
    group, and G below is 1. A filter has ``c'`` channels, those of a group. Channels keep the order
    that they have in the dense layer, whichever of its filters are primary.

    The kernel is made once a forward pass where gradients are wanted, otherwise once for as long
    as its parts don't change.

    Args:
        conv: The dense convolution to stand in for; it has n filters.
        **settings: See :class:`~mmcompress.methods.linear_conv.settings.Settings`.

    Attributes:
        settings: The settings.
        sets: ``G``, into how many sets the filters fall: the groups, or 1.
        num_primary: ``p``, primary filters of each set.
        primary: ``Tensor[G p, c', kh, kw]``.
        combination: ``A``, ``Tensor[G, n / G - p, p]``; of variants ``linear`` and ``sparse``.
        left: ``Tensor[G, n / G - p, r]``, and
        right: ``Tensor[G, r, p]``, whose product is ``A``; of ``lowrank`` and ``rankratio``.
        mask: ``Tensor[G, n / G - p, p]``, the entries of ``A`` that count; of ``sparse``.
        threshold: ``Tensor[]``, what they have to exceed; of ``sparse``.
        order: ``Tensor[n]``, for each filter its row in the stack of ``[P; A P]`` of all sets.
        bias: ``Tensor[n]`` or ``None``.

    Raises:
        CompressionError: If a setting is wrong, or a rank larger than the layer.

    Source: Kahatapitiya & Rodrigo, "Exploiting the Redundancy in Convolutional Filters for
    Parameter Reduction", arXiv:1907.11432, and their code for ``across_groups=True`` and
    ``start='uniform'``. Combining within groups, the order of the filters and the start
    ``'scaled'`` are ours.
    """

    combination: nn.Parameter
    mask: Tensor
    threshold: Tensor
    order: Tensor
    _counted: Tensor | None

    def __init__(self, conv: nn.Conv2d, **settings: Any) -> None:
        super().__init__(conv)
        self.settings = Settings(**settings)
        self.sets = self.settings.sets(conv.groups)
        each = conv.out_channels // self.sets
        count = self.settings.num_primary(each)
        rank = self.settings.rank_of(count)
        self.num_primary, combined = count, each - count
        like, sets = conv.weight, self.sets
        self.primary = _empty(like, sets * count, *conv.weight.shape[1:])
        if rank is not None:
            self.factors = ('primary', 'left', 'right')
            self.left = _empty(like, sets, combined, rank)
            self.right = _empty(like, sets, rank, count)
        else:
            self.factors = ('primary', 'combination')
            self.combination = _empty(like, sets, combined, count)
        self.bias = None if conv.bias is None else _empty(like, conv.out_channels)
        self._start()
        sparse = self.is_sparse
        mask = torch.ones_like(self.combination, dtype=torch.bool) if sparse else None
        self.register_buffer('mask', mask)
        self.register_buffer('threshold', like.new_zeros(()) if sparse else None)
        self.register_buffer('order', torch.arange(conv.out_channels, device=like.device))
        self._kernel = Remembered()
        self.__dict__['_counted'] = None

    def _start(self) -> None:
        """Fill all parameters with random numbers, as ``settings.start`` says."""
        parts = [getattr(self, name) for name in self.factors[1:]]
        if self.settings.start == 'uniform':
            nn.init.xavier_uniform_(self.primary)
            for tensor in parts if self.bias is None else (*parts, self.bias):
                nn.init.uniform_(tensor, -UNIFORM, UNIFORM)
            return
        # As if all filters were random ones: `fan_out` is that of the dense layer.
        fan_out = self.dense_shape[0] // self.groups * math.prod(self.kernel_size)
        nn.init.normal_(self.primary, std=math.sqrt(2 / fan_out))
        for tensor in parts:
            # Of such variance that combinations are as large as the primary filters.
            variance = 1 / tensor.shape[2]
            bound = math.sqrt(3 * variance)
            nn.init.uniform_(tensor, -bound, bound)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """``Tensor[N, c, H, W]`` to ``Tensor[N, n, H', W']``."""
        return self._conv(x, self.kernel(), self.bias, self.groups)

    def kernel(self) -> Tensor:
        """:meth:`filters`, made again only if they have changed or gradients are wanted."""
        if self._counted is not None:
            return self._counted
        names = (*self.factors, 'order', *(('mask',) if self.is_sparse else ()))
        sources = [getattr(self, name) for name in names]
        return self._kernel(sources, self.filters)

    def filters(self) -> Tensor:
        """The dense weight, ``Tensor[n, c / g, kh, kw]``, in the data type of the parameters."""
        # Sums of many products are no work for half precision.
        with torch.autocast(self.primary.device.type, enabled=False):
            return self._materialise(self.primary, self.combinations())

    def combinations(self) -> tuple[Tensor, ...]:
        """``A``, without what is masked, or its two factors."""
        if self.is_sparse:
            return (self.combination * self.mask,)
        return tuple(getattr(self, name) for name in self.factors[1:])

    def _materialise(self, primary: Tensor, combinations: tuple[Tensor, ...]) -> Tensor:
        return materialise(primary, combinations, self.order, self.sets, self.dense_shape)

    def train(self, mode: bool = True) -> LinearConv2d:
        """Set the mode, and drop the cached kernel: moving averages may have been swapped in."""
        self._kernel.forget()
        return super().train(mode)

    @property
    def rank(self) -> int:
        """The number of primary filters."""
        return len(self.primary)

    # Sparse combinations

    @property
    def is_sparse(self) -> bool:
        """Whether entries of the combinations become zero."""
        return self.settings.variant == 'sparse'

    @property
    def sparsity(self) -> Tensor:
        """Share of the combinations' entries that are masked, ``Tensor[]``."""
        return sparsity(self.mask, self.threshold.dtype)

    @torch.no_grad()
    def update_mask(self, step: float) -> None:
        """Mask the entries below the threshold, and move the threshold.

        Args:
            step: Largest change of the threshold.
        """
        self.mask.copy_(keep_mask(self.combination, self.threshold))
        target: Any = self.settings.target_sparsity
        self.threshold.copy_(next_threshold(self.threshold, self.sparsity, target, step))

    # What is stored, and what is static

    def stored(self) -> dict[str, Tensor]:
        """Tensors that a compact file needs.

        Of sparse combinations these are a bit for each entry, and the entries that are left.
        """
        factors = {name: getattr(self, name) for name in self.factors}
        return pack(factors, self.mask if self.is_sparse else None, self.order)

    def recipes(self, form: str | None = None) -> dict[str, Recipe]:
        """The weight, of what is stored."""
        return {'weight': Recipe('LinearConvFactors', self.stored(), dict(groups=self.sets))}

    @torch.no_grad()
    def count_stored(self) -> None:
        """Keep only the parameters that are stored; masked entries are not."""
        self.__dict__['_counted'] = self.filters()
        if self.is_sparse:
            self.combination = nn.Parameter(self.combination[self.mask])

    def _static(self, form: str) -> Static:
        parts = tuple(double(tensor) for tensor in self.combinations())
        return self._plain(self._materialise(double(self.primary), parts), double(self.bias))

    def extra_repr(self) -> str:
        """Settings of the convolution and of its filters."""
        own = ', '.join(f'{key}={value!r}' for key, value in self.settings.own.items())
        return f'{super().extra_repr()}, primary={self.num_primary}, {own}'


def _empty(like: Tensor, *shape: int) -> nn.Parameter:
    return nn.Parameter(like.new_empty(shape))
