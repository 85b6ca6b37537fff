"""The loss that keeps basis filters orthonormal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass
class Basis:
    """The basis filters of one unit.

    Attributes:
        shared: ``Tensor[s, c / shared_groups, kh, kw]``, or None where there are none.
        unique: For each layer ``Tensor[u, c / unique_groups, kh, kw]``; empty where there are
            none.
        shared_groups: Groups of the convolution with the shared filters.
        unique_groups: Of that with the unique ones.
    """

    shared: Tensor | None = None
    unique: Sequence[Tensor] = field(default_factory=list)
    shared_groups: int = 1
    unique_groups: int = 1


def orthogonality(bases: Sequence[Basis], unique_blocks: bool = True) -> Tensor:
    """Mean squared distance of products of basis filters from those of orthonormal filters.

    With the filters of a unit as rows of ``B``, ``D = (B B^T - I)^2`` elementwise. Counted are
    the rows of the shared filters, against shared and unique ones, and each layer's unique filters
    against each other. All that is summed over all units, and divided by the number of entries
    summed. Filters of grouped convolutions are zero outside of their group.

    ``Double`` adds one such loss, without unique blocks, for the bases of all first convolutions
    and one for those of all second convolutions.

    Args:
        bases: Of all units.
        unique_blocks: Whether unique filters count against those of their layer (``Single``).

    Returns:
        ``Tensor[]``; 0 if nothing counts.

    Source: Kang and Kim, arXiv:2006.05066, and the normalisation of the authors' code.
    """
    parts = [part for basis in bases for part in _parts(basis, unique_blocks)]
    count = sum(part.numel() for part in parts)
    if not count:
        tensors = [t for basis in bases for t in (basis.shared, *basis.unique) if t is not None]
        return tensors[0].new_zeros(()) if tensors else torch.zeros(())
    return torch.stack([part.square().sum() for part in parts]).sum() / count


def _parts(basis: Basis, unique_blocks: bool) -> list[Tensor]:
    """The entries of ``B B^T - I`` that count."""
    unique = [_rows(filters, basis.unique_groups) for filters in basis.unique if len(filters)]
    parts = []
    if basis.shared is not None and len(basis.shared):
        shared = _rows(basis.shared, basis.shared_groups)
        parts.append(_from_identity(shared @ torch.cat([shared, *unique]).T))
    if unique_blocks and unique:
        # Of one shape in all layers; of several, one block for each.
        for size in sorted({len(rows) for rows in unique}):
            rows = torch.stack([rows for rows in unique if len(rows) == size])
            parts.append(_from_identity(rows @ rows.mT))
    return parts


def _from_identity(products: Tensor) -> Tensor:
    """Less 1 on the diagonal, ``Tensor[..., n, m]``."""
    eye = torch.eye(*products.shape[-2:], dtype=products.dtype, device=products.device)
    return products - eye


def _rows(filters: Tensor, groups: int) -> Tensor:
    """Filters over all channels, flat: ``Tensor[n, c / groups, kh, kw]`` to ``Tensor[n, d]``."""
    if groups == 1:
        return filters.flatten(1)
    return torch.block_diag(*filters.reshape(groups, len(filters) // groups, -1))
