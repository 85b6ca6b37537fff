"""Which channels stay: the ones of the largest scores.

``Tensor[n]`` has the scores of one layer. Layers together are rows ``Tensor[L, n]`` (more leading
dimensions are rows too), where ``mask`` says which entries of the shorter rows are real.
"""

from __future__ import annotations

import torch
from torch import Tensor


def check_feasible(x: Tensor, k: int | Tensor, mask: Tensor | None = None) -> None:
    """Make sure that each row has room for ``k`` ones.

    Args:
        x: ``Tensor[..., n]``.
        k: One number for all rows, or ``Tensor[...]``.
        mask: ``bool Tensor[..., n]``, the real entries; None: all.

    Raises:
        ValueError: If some k is negative or larger than its row.
    """
    k = torch.as_tensor(k)
    room = torch.as_tensor(x.shape[-1] if mask is None else mask.sum(-1), device=k.device)
    bad = ((k < 0) | (k > room)).expand(x.shape[:-1]).flatten()
    if bad.any():
        row = int(bad.nonzero()[0])
        number, most = (int(t.expand(x.shape[:-1]).flatten()[row]) for t in (k, room))
        raise ValueError(
            f'k of row {row} is {number}; it has to be from 0 to {most}, the number of its entries'
        )


@torch.no_grad()
def keep_largest(v: Tensor, k: int | Tensor, mask: Tensor | None = None) -> Tensor:
    """Binary rows with ones at the k largest entries; of equal ones the first.

    Args:
        v: ``Tensor[..., n]``.
        k: One number for all rows, or ``Tensor[...]`` on the device of ``v``.
        mask: ``bool Tensor[..., n]``, the real entries; None: all.

    Returns:
        ``Tensor[..., n]`` in the type of ``v``, each row with exactly k ones.

    Raises:
        ValueError: If some k is negative or larger than its row.
    """
    check_feasible(v, k, mask)
    if isinstance(k, Tensor):
        k = k.unsqueeze(-1)
    order = (v if mask is None else v.masked_fill(~mask, -torch.inf)).argsort(
        dim=-1, descending=True, stable=True
    )
    return (order.argsort(-1) < k).to(v.dtype)
