"""The op of shared basis: filters that layers share beside a few of the layer's own."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from mmcompress.core.base.op import Recipe
from mmcompress.core.errors import CompressionError
from mmcompress.core.filters.basis_op import BasisConv2d, stack
from mmcompress.core.filters.op import Static
from mmcompress.core.layers.plain import conv_layer
from mmcompress.registry import MODELS

#: Positions in the output for each weight of a filter, below which two convolutions take a CPU
#: less time than putting their weights together (``benchmarks/benchmark_basis.py``).
PAYS = 0.25


@MODELS.register_module()
class SharedBasisConv2d(BasisConv2d):
    """Convolution with s filters that layers share and u of its own, and coefficients.

    Both kinds are one convolution with the weight ``[S; U]``, group by group where the
    convolution is grouped. Where the two differ in their groups, or maps are tiny, they are two
    convolutions.

    Args:
        conv: The dense convolution to stand in for.
        shared_rank: ``s``.
        unique_rank: ``u``; one of the two may be 0.
        shared_groups: Groups of the shared filters; by default those of ``conv``.
        unique_groups: Groups of the layer's own filters; likewise.
        **kwargs: See :class:`~mmcompress.core.filters.basis_op.BasisConv2d`.

    Attributes:
        shared_basis: ``Tensor[s, c / shared_groups, kh, kw]``, of the owner.
        unique_basis: ``Tensor[u, c / unique_groups, kh, kw]`` or ``None``.

    Raises:
        CompressionError: If groups don't divide channels and ranks, or there are coefficients
            for other groups than the convolution's.

    Source: Kang & Kim, arXiv:2006.05066.
    """

    shared_basis: nn.Parameter | None
    shared: tuple[str, ...] = ('shared_basis',)
    factors: tuple[str, ...] = ('shared_basis', 'unique_basis', 'coefficients')

    def __init__(
        self,
        conv: nn.Conv2d,
        shared_rank: int,
        unique_rank: int,
        shared_groups: int | None = None,
        unique_groups: int | None = None,
        **kwargs: Any,
    ) -> None:
        of_shared = _divisor(conv, 'shared', shared_rank, shared_groups)
        of_unique = _divisor(conv, 'unique', unique_rank, unique_groups)
        super().__init__(
            conv, shared_rank + unique_rank, of_shared if shared_rank else of_unique, **kwargs
        )
        self.unique_groups = of_unique
        self.is_one = not (shared_rank and unique_rank) or of_shared == of_unique
        if self.coefficients is not None and not (self.is_one and self.basis_groups == conv.groups):
            raise CompressionError(
                'shared_groups and unique_groups are for convolutions without coefficients; leave '
                'them out, or set coefficients=False'
            )
        if self._owner is None:
            self.shared_basis = _filters(conv, shared_rank, of_shared)
        self.unique_basis = _filters(conv, unique_rank, of_unique)

    @property
    def bases(self) -> list[tuple[Tensor, int]]:
        """The shared filters and the layer's own, whichever there are, each with its groups."""
        owner: Any = self.owner
        both = (
            (owner.shared_basis, self.basis_groups),
            (self.unique_basis, self.unique_groups),
        )
        return [(basis, groups) for basis, groups in both if basis is not None]

    def basis(self) -> Tensor:
        """``[S; U]`` of every group, ``Tensor[s + u, c / groups, kh, kw]``.

        Raises:
            ValueError: If the two differ in their groups.
        """
        if not self.is_one:
            raise ValueError('filters in different groups are not one convolution')
        return stack([basis for basis, _ in self.bases], self.basis_groups)

    def stored_basis(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The shared filters, and the layer's own."""
        owner = cast(SharedBasisConv2d, self.owner)
        both = dict(shared_basis=owner.shared_basis, unique_basis=self.unique_basis)
        return {name: basis for name, basis in both.items() if basis is not None}, {}

    def recipes(self, form: str | None = None) -> dict[str, Recipe]:
        """How the filters are stored; filters in different groups are two convolutions."""
        if self.is_one:
            return super().recipes(form)
        tensors = self.stored_basis()[0]
        groups = [count for _, count in self.bases]
        return {
            f'{index}.weight': Recipe('BasisFactors', {name: basis}, dict(basis_groups=count))
            for index, ((name, basis), count) in enumerate(
                zip(tensors.items(), groups, strict=True)
            )
        }

    def convolve(self, x: Tensor) -> Tensor:
        """Apply the basis: as one convolution where that is faster, else one for each part."""
        if self.is_one and (x.device.type != 'cpu' or self._pays(x.shape)):
            return super().convolve(x)
        return torch.cat([self._conv(x, basis, None, groups) for basis, groups in self.bases], 1)

    def _pays(self, shape: torch.Size) -> bool:
        """Whether one convolution is worth putting its weight together."""
        if self.unique_basis is None or self.owner.shared_basis is None or self.basis_groups > 1:
            return True
        return self.positions(shape) >= self.unique_basis[0].numel() * PAYS

    def cost(self, form: str) -> int:
        """Number of weights in a static form."""
        if self.coefficients is not None or self.is_one:
            return super().cost(form)
        return sum(basis.numel() for basis, _ in self.bases)

    def _static(self, form: str) -> Static:
        if self.is_one:
            return super()._static(form)
        parts: list[Any] = []
        state: dict[str, Tensor | None] = {}
        bias = self.bias
        start = 0
        for index, (basis, groups) in enumerate(self.bases):
            parts.append(conv_layer(self, basis.shape, groups, bias is not None))
            state[f'{index}.weight'] = basis.detach()
            if bias is not None:
                state[f'{index}.bias'] = bias.detach()[start : start + len(basis)]
            start += len(basis)
        return [dict(type='SideBySide', layers=parts)], [state]


def _divisor(conv: nn.Conv2d, kind: str, rank: int, groups: int | None) -> int:
    """Groups of one kind of filters."""
    groups = groups or conv.groups
    if rank % groups or conv.in_channels % groups:
        raise CompressionError(
            f'{kind}_rank is {rank} in {groups} groups ({kind}_groups), for {conv.in_channels} '
            'input channels; the groups have to divide both'
        )
    return groups


def _filters(conv: nn.Conv2d, rank: int, groups: int) -> nn.Parameter | None:
    if not rank:
        return None
    shape = (rank, conv.in_channels // groups, *conv.kernel_size)
    filters = nn.Parameter(conv.weight.new_empty(shape))
    nn.init.kaiming_normal_(filters, mode='fan_out', nonlinearity='relu')
    return filters
