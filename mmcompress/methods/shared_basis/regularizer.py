"""The loss that keeps basis filters orthonormal."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

#: Values of ``unique``, and of ``joint``, beside False and True.
CROSS, SEPARATE = 'cross', 'separate'


@dataclass
class Basis:
    """The basis filters of one unit.

    Attributes:
        shared: ``Tensor[s, c / shared_groups, kh, kw]``, or None where there are none.
        unique: For each layer ``Tensor[u, c / unique_groups, kh, kw]``; empty where there are
            none.
        shared_groups: Groups of the convolution with the shared filters.
        unique_groups: Of that with the unique ones.
        position: Where in their blocks the layers are, such as ``conv1``.
    """

    shared: Tensor | None = None
    unique: Sequence[Tensor] = field(default_factory=list)
    shared_groups: int = 1
    unique_groups: int = 1
    position: str = ''


def orthogonality(
    groups: Sequence[Sequence[Basis]],
    unique: bool | str = False,
    joint: bool | str = False,
    borrow: bool = False,
    as_one_group: bool = False,
) -> Tensor:
    """Mean squared distance of products of basis filters from those of orthonormal filters.

    With some filters as rows of ``B``, ``D = (B B^T - I)^2`` elementwise. The shared filters count
    against each other. What else counts, and what is averaged over what, is a choice: the authors
    have another one in each of their programs. All entries of ``D`` that count are summed, and
    divided by their number.

    Filters of grouped convolutions are zero outside of their group. Filters that differ in their
    number of weights never meet.

    Args:
        groups: The bases of all units. Those that serve the same blocks stand together, in the
            order in which the blocks run them.
        unique: ``False`` leaves unique filters out. ``True`` counts shared filters against unique
            ones, and each layer's unique filters against each other. ``'cross'`` does the former
            alone.
        joint: ``False`` takes each basis by itself, and one mean of all of them. ``True`` takes
            the bases of the same blocks as one, whose shared filters count against each other and
            against the unique ones of all their layers; again there is one mean. ``'separate'``
            takes each basis by itself and one mean for each position; the means are added up.
        borrow: Whether all bases of the same blocks count against the unique filters of the first.
        as_one_group: Whether filters of grouped convolutions are multiplied as they are, as if
            all of them looked at the same channels.

    Returns:
        ``Tensor[]``; 0 if nothing counts.

    Source: Kang and Kim, arXiv:2006.05066, and what the authors' programs make of it:
    ``unique=True`` is that of CIFAR-10, with ``joint=True`` for ``Double``; ``joint=True`` alone is
    that of ``Double`` on ImageNet; ``joint='separate'`` alone is that of their networks ``++``.
    """
    if as_one_group:
        groups = [[replace(b, shared_groups=1, unique_groups=1) for b in group] for group in groups]
    if borrow:
        groups = [[_borrowing(basis, group[0]) for basis in group] for group in groups]
    if joint is True:
        return _mean(groups, unique)
    alone: dict[str, list[list[Basis]]] = defaultdict(list)
    for basis in (basis for group in groups for basis in group):
        alone[basis.position if joint == SEPARATE else ''].append([basis])
    return sum((_mean(kind, unique) for kind in alone.values()), start=_zero(groups))


def _borrowing(basis: Basis, first: Basis) -> Basis:
    """A basis with the unique filters of another one."""
    return replace(basis, unique=first.unique, unique_groups=first.unique_groups)


def _mean(groups: Sequence[Sequence[Basis]], unique: bool | str) -> Tensor:
    """Of the squares of all entries that count; bases of a group are taken as one."""
    parts = [part for group in groups for part in _parts(group, unique)]
    count = sum(part.numel() for part in parts)
    if not count:
        return _zero(groups)
    return torch.stack([part.square().sum() for part in parts]).sum() / count


def _parts(group: Sequence[Basis], unique: bool | str) -> list[Tensor]:
    """The entries of ``B B^T - I`` that count."""
    shared: dict[int, list[Tensor]] = defaultdict(list)
    own: dict[int, list[Tensor]] = defaultdict(list)
    for basis in group:
        if basis.shared is not None and len(basis.shared):
            rows = _rows(basis.shared, basis.shared_groups)
            shared[rows.shape[1]].append(rows)
        for filters in basis.unique if unique else ():
            if len(filters):
                rows = _rows(filters, basis.unique_groups)
                own[rows.shape[1]].append(rows)
    parts = []
    for length, together in shared.items():
        common = torch.cat(together)
        parts.append(_from_identity(common @ torch.cat([common, *own[length]]).T))
    if unique and unique != CROSS:
        parts += [part for rows in own.values() for part in _blocks(rows)]
    return parts


def _blocks(unique: list[Tensor]) -> list[Tensor]:
    """Each layer's filters against each other; of one number in all layers, at once."""
    sizes = sorted({len(rows) for rows in unique})
    stacks = [torch.stack([rows for rows in unique if len(rows) == size]) for size in sizes]
    return [_from_identity(rows @ rows.mT) for rows in stacks]


def _zero(groups: Sequence[Sequence[Basis]]) -> Tensor:
    """0, of the filters' type and where they are."""
    for basis in (basis for group in groups for basis in group):
        for tensor in (basis.shared, *basis.unique):
            if tensor is not None:
                return tensor.new_zeros(())
    return torch.zeros(())


def _from_identity(products: Tensor) -> Tensor:
    """Less 1 on the diagonal, ``Tensor[..., n, m]``."""
    eye = torch.eye(*products.shape[-2:], dtype=products.dtype, device=products.device)
    return products - eye


def _rows(filters: Tensor, groups: int) -> Tensor:
    """Filters over all channels, flat: ``Tensor[n, c / groups, kh, kw]`` to ``Tensor[n, d]``."""
    if groups == 1:
        return filters.flatten(1)
    return torch.block_diag(*filters.reshape(groups, len(filters) // groups, -1))
