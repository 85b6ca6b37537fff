"""methods/linear_conv/threshold.py: the formula, and where it leads."""

import math

import pytest
import torch
from torch import Tensor

from mmcompress.methods.linear_conv.threshold import (
    keep_mask,
    next_threshold,
    sparsity,
    steps_needed,
)


@pytest.mark.parametrize('share', [0.0, 0.3, 0.5, 0.52, 1.0])
@pytest.mark.parametrize('target', [0.5, 0.9])
def test_next_threshold_is_the_formula(share: float, target: float) -> None:
    theta = torch.tensor(0.02, dtype=torch.float64)
    found = next_threshold(theta, torch.tensor(share, dtype=torch.float64), target, 1e-3)
    expected = 0.02 + 1e-3 * (2 / (1 + math.pow(10, 10 * (share - target))) - 1)
    assert found.item() == pytest.approx(expected, rel=1e-12)
    assert found.shape == ()


def test_next_threshold_is_never_negative() -> None:
    assert next_threshold(torch.tensor(1e-5), torch.tensor(1.0), 0.1, 1e-3) == 0


def test_mask_and_sparsity() -> None:
    combination = torch.tensor([[[0.5, -0.5, 0.4], [-0.6, 0.0, 0.7]]], requires_grad=True)
    mask = keep_mask(combination, torch.tensor(0.5))
    assert mask.dtype == torch.bool
    assert mask.tolist() == [[[False, False, False], [True, False, True]]]
    assert sparsity(mask).item() == pytest.approx(4 / 6)
    # Without a threshold what is zero is masked, for |A| > 0 it isn't.
    assert sparsity(keep_mask(combination, torch.tensor(0.0))).item() == pytest.approx(1 / 6)
    assert sparsity(torch.ones(0, 3, dtype=torch.bool)) == 0


def run(combination: Tensor, target: float, step: float, updates: int) -> list[float]:
    """Sparsity after each update, entries being fixed."""
    threshold = torch.zeros(())
    shares = []
    for _ in range(updates):
        share = sparsity(keep_mask(combination, threshold))
        threshold = next_threshold(threshold, share, target, step)
        shares.append(sparsity(keep_mask(combination, threshold)).item())
    return shares


@pytest.mark.parametrize('target', [0.3, 0.5, 0.9])
@pytest.mark.parametrize('heavy_tails', [True, False])
def test_settles_at_the_target(target: float, heavy_tails: bool) -> None:
    torch.manual_seed(0)
    combination = torch.randn(2, 40, 50)
    combination = combination**3 if heavy_tails else combination
    shares = run(combination, target, 0.01, 1500)
    assert all(abs(share - target) < 0.01 for share in shares[-50:])
    needed = steps_needed(combination, torch.zeros(()), target, 0.01)
    reached = next(i for i, share in enumerate(shares, 1) if share > target - 0.01)
    # From below for what is reached by then, and of the right size for what it is meant for.
    almost = steps_needed(combination, torch.zeros(()), target - 0.01, 0.01)
    assert almost <= reached <= 2 * needed


def test_steps_needed() -> None:
    combination = torch.tensor([[[0.1, -0.2, 0.3, -0.4], [0.5, -0.6, 0.7, -0.8]]])
    zero = torch.zeros(())
    # Three of eight entries are up to 0.3.
    assert steps_needed(combination, zero, 3 / 8, 0.125) == 3
    assert steps_needed(combination, zero, 0.3, 0.125) == 3
    assert steps_needed(combination, zero, 1.0, 0.125) == 7
    assert steps_needed(combination, torch.tensor(0.29), 3 / 8, 0.125) == 1
    assert steps_needed(combination, torch.tensor(0.3), 3 / 8, 0.125) == 0
    assert steps_needed(combination, torch.tensor(0.9), 1.0, 0.125) == 0
    assert steps_needed(combination, zero, 0.0, 0.125) == 0
    assert steps_needed(torch.empty(2, 0, 3), zero, 0.5, 0.125) == 0
    # 0.07 * 100 is a little more than 7.
    hundred = torch.arange(1.0, 101).view(1, 10, 10)
    assert steps_needed(hundred, zero, 0.07, 1) == 7


def test_no_fewer_updates_do() -> None:
    torch.manual_seed(0)
    combination = torch.rand(1, 30, 30)
    needed = steps_needed(combination, torch.zeros(()), 0.5, 0.01)
    for updates in range(needed):
        assert (combination <= 0.01 * updates).float().mean() < 0.5
    assert (combination <= 0.01 * needed).float().mean() >= 0.5
