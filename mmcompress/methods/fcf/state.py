"""The state of ADMM for all scalars of a model, and its step around that of the optimizer."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from .admm import (
    admm_gradient,
    next_rho,
    project_capped_simplex,
    project_sphere,
    update_duals,
)


class ADMMState(nn.Module):
    """Duals, projections and penalty, one row ``Tensor[n]`` for each vector of scalars.

    Rows of different length are padded: all tensors are ``[L, n_max]``. Everything that the
    next step depends on is a buffer, so that a resumed training goes on as if it had not
    stopped. Nothing here waits for the device.

    Args:
        lengths: The number n of scalars in each row.
        rho: Penalty at first.
        rho_max: Where it stops growing.
        mu: Its factor at each step; 1 until the length of training is known, if that decides.
        alpha: Share of ADMM's gradient in that of the scalars; the loss has the rest.

    Attributes:
        y1: Duals of the capped simplex, ``Tensor[L, n_max]``.
        y2: Duals of the sphere.
        z1: Projections onto the capped simplex.
        z2: Projections onto the sphere.
        rho: Penalty, a 0-dim float64 tensor.
        evidence: The sum over steps of ``|v * gradient|``, ``Tensor[L, n_max]``: to first order,
            how much the loss of a batch changes without a filter (Molchanov et al., CVPR 2019).

    Source: Li et al., CVPR 2019, Algorithm 1.
    """

    mask: Tensor
    places: Tensor
    y1: Tensor
    y2: Tensor
    z1: Tensor
    z2: Tensor
    rho: Tensor
    evidence: Tensor
    #: Checkpoints from before it was kept lack it.
    derived_buffers = ('evidence',)

    def __init__(
        self, lengths: list[int], rho: float, rho_max: float, mu: float, alpha: float
    ) -> None:
        super().__init__()
        self.rho_max, self.mu, self.alpha = rho_max, mu, alpha
        self._first_rho, self._last_rho = rho, math.inf
        mask = pad_sequence([torch.ones(n, dtype=torch.bool) for n in lengths], True)
        self.register_buffer('mask', mask, persistent=False)
        # Where the scalars stand among the padded ones: no boolean index, which would wait.
        places = mask.flatten().nonzero().flatten()
        self.register_buffer('places', places, persistent=False)
        for name in ('y1', 'y2', 'z1', 'z2', 'evidence'):
            self.register_buffer(name, torch.zeros(mask.shape))
        self.register_buffer('rho', torch.tensor(rho, dtype=torch.float64))

    def reach_maximum_after(self, steps: int) -> None:
        """Let the penalty be at its largest after so many steps, of which there may be one."""
        self.mu = (self.rho_max / self._first_rho) ** (1 / max(steps, 1))
        self._last_rho = self.rho_max

    def pad(self, vectors: list[Tensor]) -> Tensor:
        """``Tensor[L, n_max]`` from vectors that hold the rows one after another."""
        flat = torch.cat(vectors)
        rows = flat.new_zeros(self.mask.shape)
        return rows.view(-1).index_copy(0, self.places, flat).view_as(rows)

    def unpad(self, rows: Tensor, lengths: list[int]) -> list[Tensor]:
        """The inverse of :meth:`pad`, for vectors of these lengths."""
        return list(rows.flatten().index_select(0, self.places).split(lengths))

    @torch.no_grad()
    def blend(self, v: Tensor, gradient: Tensor, k: Tensor) -> Tensor:
        """The gradient that the optimizer is to follow; projects ``v`` first.

        Args:
            v: Scalars, ``Tensor[L, n_max]``.
            gradient: The loss's gradient with respect to them.
            k: The number of filters to keep, ``LongTensor[L]``; each must fit its row.

        Returns:
            ``alpha g + (1 - alpha) gradient``.
        """
        rho = self.rho.to(v.dtype)
        self.evidence += (v * gradient).abs()
        self.z1.copy_(project_capped_simplex(v + self.y1 / rho, k, self.mask, check=False))
        self.z2.copy_(project_sphere(v + self.y2 / rho, self.mask, self.z2))
        constraint = admm_gradient(v, self.z1, self.z2, self.y1, self.y2, rho)
        return self.alpha * constraint + (1 - self.alpha) * gradient

    @torch.no_grad()
    def ascend(self, v: Tensor) -> None:
        """Move the duals and the penalty, once the optimizer has moved ``v``."""
        rho = self.rho.to(v.dtype)
        y1, y2 = update_duals(v, self.z1, self.z2, self.y1, self.y2, rho)
        self.y1.copy_(y1)
        self.y2.copy_(y2)
        self.rho.copy_(next_rho(self.rho, self.mu, self.rho_max).clamp(max=self._last_rho))

    @torch.no_grad()
    def residuals(self, v: Tensor) -> tuple[Tensor, Tensor]:
        """Largest ``|v - z1|`` and ``|v - z2|`` of all scalars."""
        return (v - self.z1).abs().max(), (v - self.z2).abs().max()
