"""The op of filter basis: every group of channels is seen through one small basis."""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor, nn

from mmcompress.core.filters.basis_op import BasisConv2d
from mmcompress.core.filters.starts import fill
from mmcompress.registry import MODELS

#: Up to so many channels, images of one group are no work for the convolutions of a CPU, and
#: a grouped convolution with the basis repeated is faster (``benchmarks/benchmark_basis.py``).
NARROW = 16


@MODELS.register_module()
class FilterBasisConv2d(BasisConv2d):
    """Convolution whose c input channels go in groups of s through one basis of b filters.

    The ``g = c / s`` groups are one batch to the basis convolution, and the 1x1 coefficients
    combine its ``g b`` maps: ``W[o, i s + r] = sum_q coefficients[o, i b + q] basis[q, r]``.

    Args:
        conv: The dense convolution to stand in for.
        num_filters: ``b``.
        basis_size: ``s``, a divisor of the channels that a filter of ``conv`` sees.
        slice_of: Channels that the shared basis has where this layer uses only the first ``s``.
        basis_bias: Whether the basis convolution has a bias, of this layer alone.
        basis_start: How the basis starts, one of :data:`~mmcompress.core.filters.starts.STARTS`.
        **kwargs: See :class:`~mmcompress.core.filters.basis_op.BasisConv2d`.

    Attributes:
        shared_basis: ``Tensor[b, s, kh, kw]``, of the owner.
        basis_bias: ``Tensor[b]`` or ``None``.

    Source: Li et al., ICCV 2019.
    """

    shared_basis: nn.Parameter
    shared: tuple[str, ...] = ('shared_basis',)
    factors: tuple[str, ...] = ('shared_basis', 'coefficients')

    def __init__(
        self,
        conv: nn.Conv2d,
        num_filters: int,
        basis_size: int,
        slice_of: int | None = None,
        basis_bias: bool = False,
        basis_start: str = 'fan_out',
        **kwargs: Any,
    ) -> None:
        parts = conv.in_channels // basis_size
        super().__init__(conv, parts * num_filters, parts, **kwargs)
        self.basis_size = basis_size
        like = conv.weight
        if self._owner is None:
            shape = (num_filters, slice_of or basis_size, *conv.kernel_size)
            self.shared_basis = nn.Parameter(like.new_empty(shape))
            fill(self.shared_basis, basis_start)
        self.basis_bias = nn.Parameter(like.new_zeros(num_filters)) if basis_bias else None

    @property
    def rank(self) -> int:
        """``b``, the filters of the basis that each group of channels is seen through."""
        return self.maps // self.basis_groups

    @property
    def sliced(self) -> Tensor:
        """The part of the basis that this layer uses, ``Tensor[b, s, kh, kw]``."""
        basis: Any = self.owner.shared_basis
        return basis if basis.shape[1] == self.basis_size else basis[:, : self.basis_size]

    def basis(self) -> Tensor:
        """The basis once for each group of channels, ``Tensor[g b, s, kh, kw]``."""
        return self.sliced.repeat(self.basis_groups, 1, 1, 1)

    def stored_basis(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The basis, of which the layer uses the first channels once for each of their groups."""
        settings = dict(channels=self.basis_size, repeat=self.basis_groups)
        owner = cast(FilterBasisConv2d, self.owner)
        return dict(shared_basis=owner.shared_basis), settings

    def offset(self) -> Tensor | None:
        """The bias once for each group of channels, ``Tensor[g b]``, if any."""
        return None if self.basis_bias is None else self.basis_bias.repeat(self.basis_groups)

    def convolve(self, x: Tensor) -> Tensor:
        """Apply the basis to every group of channels; the groups are one batch."""
        if self.basis_groups == 1:
            return self._conv(x, self.sliced, self.basis_bias, 1)
        if self.basis_size <= NARROW and x.device.type == 'cpu':
            return super().convolve(x)
        x = x.reshape(-1, self.basis_size, *x.shape[2:])
        maps = self._conv(x, self.sliced, self.basis_bias, 1)
        return maps.reshape(-1, self.maps, *maps.shape[2:])
