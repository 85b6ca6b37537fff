"""The l2-box ADMM of FCF (Li et al., CVPR 2019), on rows of factors.

``v`` of one layer is a row ``Tensor[n]``; all layers together are ``Tensor[L, n]`` (more leading
dimensions are rows too), where ``mask`` says which entries of the shorter rows are real. Padding
plays no part in any result and comes out as 0. ``torch.nn.utils.rnn.pad_sequence`` makes such
rows.

No function takes gradients. None waits for the device, but where it is to check its arguments, and
none calls anything that PyTorch has no deterministic kernel for: ranks that start from equal
numbers stay equal, and so does a run that is resumed.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mmcompress.core.channels.choose import check_feasible


@torch.no_grad()
def project_capped_simplex(
    x: Tensor, k: int | Tensor, mask: Tensor | None = None, check: bool = True
) -> Tensor:
    """Nearest point in ``{0 <= z <= 1, sum z = k}``, exactly.

    It is ``clip(x - tau, 0, 1)``, whose sum falls with tau and is linear between breakpoints at
    the ``x_i`` and the ``x_i - 1``. These are sorted, the last one where the sum is still k or more
    is found by bisection over their ranks, and from there a linear equation gives tau: O(n log n).

    Computed in float64 where the device has it. (Prefix sums would find the breakpoint in one
    step, but CUDA has no deterministic ones for floating point.)

    Args:
        x: ``Tensor[..., n]``.
        k: One number for all rows, or ``Tensor[...]`` on the device of ``x``.
        mask: ``bool Tensor[..., n]``, the real entries; None: all.
        check: Whether to call :func:`~mmcompress.core.channels.choose.check_feasible`, which
            waits for the device when ``k`` or ``mask`` are on one. Callers with constant k check
            once and say False.

    Returns:
        ``Tensor[..., n]`` in the type of ``x``.

    Raises:
        ValueError: If some k is negative or larger than its row.

    Source: Li et al., CVPR 2019, the projection onto ``S_b``.
    """
    if check:
        check_feasible(x, k, mask)
    wide = x.float() if x.device.type == 'mps' else x.double()
    if isinstance(k, Tensor):
        k = k.unsqueeze(-1).to(wide.dtype)
    if mask is not None:
        # Below every tau that matters: counts as 0, and comes out as 0.
        wide = wide.masked_fill(~mask, torch.finfo(wide.dtype).min)
    points = _sorted(torch.cat([wide - 1, wide], -1))
    last = points.shape[-1] - 1
    rank = torch.zeros_like(points[..., :1], dtype=torch.long)
    for bit in reversed(range(last.bit_length())):
        further = (rank + (1 << bit)).clamp_(max=last)
        total = (wide - points.gather(-1, further)).clamp_(0, 1).sum(-1, keepdim=True)
        rank = torch.where(total >= k, further, rank)
    tau = points.gather(-1, rank)
    excess = (wide - tau).clamp_(0, 1).sum(-1, keepdim=True) - k
    # Entries that have left 1 but not arrived at 0; if there are none, the sum is k already.
    slope = ((wide - 1 <= tau) & (tau < wide)).sum(-1, keepdim=True)
    z = (wide - (tau + excess / slope.clamp_(min=1))).clamp_(0, 1)
    return z.to(x.dtype)


@torch.no_grad()
def project_sphere(x: Tensor, mask: Tensor | None = None, previous: Tensor | None = None) -> Tensor:
    """Nearest point on the sphere through all binary vectors, ``||z - 1/2||^2 = n/4``.

    Args:
        x: ``Tensor[..., n]``.
        mask: ``bool Tensor[..., n]``, the real entries; None: all.
        previous: ``Tensor[..., n]``, taken for rows in the sphere's centre, from where every
            direction is as good; None: such rows are returned as they are.

    Returns:
        ``Tensor[..., n]``.

    Source: Li et al., CVPR 2019, the projection onto ``S_p``.
    """
    count = x.shape[-1] if mask is None else mask.sum(-1, keepdim=True, dtype=x.dtype)
    direction = _unpadded(x - 0.5, mask)
    length = direction.norm(dim=-1, keepdim=True)
    z = 0.5 + direction * (count**0.5 / 2 / length)
    return _unpadded(torch.where(length > 0, z, x if previous is None else previous), mask)


@torch.no_grad()
def admm_gradient(
    v: Tensor, z1: Tensor, z2: Tensor, y1: Tensor, y2: Tensor, rho: float | Tensor
) -> Tensor:
    """Gradient of the augmented Lagrangian's constraint terms, ``y1 + y2 + rho (2 v - z1 - z2)``.

    Args:
        v: Factors, ``Tensor[..., n]`` as all others.
        z1: ``v + y1 / rho`` projected onto the capped simplex.
        z2: ``v + y2 / rho`` projected onto the sphere.
        y1: Dual of ``v = z1``.
        y2: Dual of ``v = z2``.
        rho: Penalty.

    Source: Li et al., CVPR 2019.
    """
    return y1 + y2 + rho * (2 * v - z1 - z2)


@torch.no_grad()
def update_duals(
    v: Tensor, z1: Tensor, z2: Tensor, y1: Tensor, y2: Tensor, rho: float | Tensor
) -> tuple[Tensor, Tensor]:
    """The duals after a step: ``y1 + rho (v - z1)`` and ``y2 + rho (v - z2)``.

    Args:
        v: Factors after the step of the optimizer, ``Tensor[..., n]`` as all others.
        z1: ``v + y1 / rho`` projected onto the capped simplex, before the step.
        z2: ``v + y2 / rho`` projected onto the sphere, before the step.
        y1: Dual of ``v = z1``.
        y2: Dual of ``v = z2``.
        rho: The penalty that ``z1`` and ``z2`` were made with.

    Source: Li et al., CVPR 2019.
    """
    return y1 + rho * (v - z1), y2 + rho * (v - z2)


@torch.no_grad()
def next_rho(rho: Tensor, mu: float, rho_max: float) -> Tensor:
    """The penalty of the next step: ``mu * rho`` while rho is below ``rho_max``.

    The last step may lead past ``rho_max``, by a factor below mu.

    Args:
        rho: ``Tensor[]``.
        mu: Factor, above 1.
        rho_max: Where to stop.
    """
    return torch.where(rho < rho_max, mu * rho, rho)


def _sorted(x: Tensor) -> Tensor:
    """Rows in ascending order."""
    if x.device.type == 'cpu':
        # On vector instructions, 3 to 5 times as fast as PyTorch's, which was half of our time.
        return torch.from_numpy(np.sort(x.detach().numpy(), axis=-1))
    return x.sort(-1).values


def _unpadded(z: Tensor, mask: Tensor | None) -> Tensor:
    """Rows with 0 in the padding, whatever was there."""
    return z if mask is None else torch.where(mask, z, 0)
