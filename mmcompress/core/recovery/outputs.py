"""Filters that are made of factors, fitted to what the dense layers put out on data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from mmcompress.core.filters.unit import FilterUnit

#: Passes over all factors of a unit.
SWEEPS = 3
#: Steps of conjugate gradients for one factor.
STEPS = 8


def fit_outputs(unit: FilterUnit, dense: dict[str, Tensor], covariances: dict[str, Tensor]) -> None:
    """Make the factors of a unit such that its layers put out what the dense ones do, in place.

    Minimises ``sum_l tr((W_l - W_l') C_l (W_l - W_l')^T)``, the squared error of the outputs, for
    dense weights W, kernels W' and covariances C of the inputs. The kernels are linear in each
    factor as long as the others stay, so one factor after another is found by conjugate
    gradients; the sum never grows.

    Args:
        unit: With the factors to begin with, such as those nearest to the weights.
        dense: ``Tensor[n, c / G, kh, kw]`` by layer.
        covariances: ``Tensor[G, d, d]`` by layer. Layers without one count as if all inputs were
            independent.
    """
    ops = {name: op for name, op in unit.ops.items() if op.is_linear}
    if not ops:
        return
    factors = {id(p): p for op in ops.values() for p in op.weights() if p.requires_grad}
    scale = sum(_energy(dense[name], covariances.get(name)) for name in ops)
    if not scale:
        return
    for _ in range(SWEEPS):
        for factor in factors.values():
            users = {name: op for name, op in ops.items() if any(p is factor for p in op.weights())}
            _fit_factor(factor, users, dense, covariances, scale)


def _fit_factor(
    factor: nn.Parameter,
    ops: dict[str, Any],
    dense: dict[str, Tensor],
    covariances: dict[str, Tensor],
    scale: float,
) -> None:
    """The best values of one factor, while all others stay: ``J^T C J x = J^T C (W - F)``."""

    def kernels(value: Tensor) -> dict[str, Tensor]:
        with torch.no_grad():
            factor.copy_(value)
        with torch.enable_grad():
            return {name: op.filters() for name, op in ops.items()}

    def back(made: dict[str, Tensor], errors: dict[str, Tensor]) -> Tensor:
        weighed = [_times(errors[name], covariances.get(name)) / scale for name in ops]
        (gradient,) = torch.autograd.grad([made[name] for name in ops], factor, weighed)
        return gradient

    def product(direction: Tensor) -> Tensor:
        made = kernels(direction)
        return back(made, {name: made[name].detach() - offset[name] for name in ops})

    start = factor.detach().clone()
    offset = {name: kernel.detach() for name, kernel in kernels(torch.zeros_like(start)).items()}
    now = kernels(start)
    missing = {name: dense[name].to(now[name]) - now[name].detach() for name in ops}
    step = _conjugate_gradients(product, back(now, missing))
    with torch.no_grad():
        factor.copy_(start + step)


def _conjugate_gradients(product: Callable[[Tensor], Tensor], wanted: Tensor) -> Tensor:
    x = torch.zeros_like(wanted)
    rest, direction = wanted.clone(), wanted.clone()
    size = first = float(rest.square().sum())
    for _ in range(STEPS):
        if size <= 1e-10 * first or size == 0:
            break
        image = product(direction)
        curvature = float((direction * image).sum())
        if curvature <= 0:
            break
        x += size / curvature * direction
        rest -= size / curvature * image
        before, size = size, float(rest.square().sum())
        direction = rest + size / before * direction
    return x


def _times(weight: Tensor, covariance: Tensor | None) -> Tensor:
    """``W C`` in the shape of W."""
    if covariance is None:
        return weight
    groups = len(covariance)
    return (weight.reshape(groups, len(weight) // groups, -1) @ covariance).view_as(weight)


def _energy(weight: Tensor, covariance: Tensor | None) -> float:
    return float((_times(weight, covariance) * weight).sum())
