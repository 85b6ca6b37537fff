"""core/distillation/losses.py against literal formulas."""

import math

import pytest
import torch

from mmcompress.core.distillation.losses import cwd, distance, l1, logits, pkd


def divergence(student, teacher, temperature):
    """``T^2 sum_k p_k log(p_k / q_k)`` of two lists of numbers."""
    p = [math.exp(float(t) / temperature) for t in teacher]
    q = [math.exp(float(s) / temperature) for s in student]
    p, q = [a / sum(p) for a in p], [b / sum(q) for b in q]
    return temperature**2 * sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


@pytest.fixture
def maps():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 3, 5, 2, 4, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize('temperature', [1.0, 4.0])
def test_softened_logits(maps, temperature):
    student, teacher = maps[:, :, :, 0, 0]
    expected = sum(map(divergence, student, teacher, [temperature] * 3)) / 3
    assert float(logits(student, teacher, temperature)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize('temperature', [1.0, 4.0])
def test_softened_maps(maps, temperature):
    student, teacher = maps
    parts = [
        divergence(student[n, c].flatten(), teacher[n, c].flatten(), temperature)
        for n in range(3)
        for c in range(5)
    ]
    assert float(cwd(student, teacher, temperature)) == pytest.approx(sum(parts) / 15, abs=1e-12)


def test_correlation_of_channels(maps):
    student, teacher = maps
    found = []
    for c in range(5):
        pair = torch.stack([student[:, c].flatten(), teacher[:, c].flatten()])
        found.append(1 - float(torch.corrcoef(pair)[0, 1]))
    assert float(pkd(student, teacher)) == pytest.approx(sum(found) / 5, abs=1e-5)
    assert float(pkd(3 * teacher + 1, teacher)) == pytest.approx(0, abs=1e-10)


def test_a_channel_without_variance_is_finite():
    student = torch.zeros(2, 3, 4, 4, requires_grad=True)
    pkd(student, torch.ones(2, 3, 4, 4)).backward()
    assert student.grad.isfinite().all()


def test_the_mean_over_levels_in_float32(maps):
    levels = [maps[0], maps[0, :, :, :1]]
    others = [maps[1], maps[1, :, :, :1]]
    found = distance([t.bfloat16() for t in levels], [t.bfloat16() for t in others], 'l1', 4)
    expected = (l1(*maps) + l1(levels[1], others[1])) / 2
    assert found.dtype == torch.float32
    assert float(found) == pytest.approx(float(expected), rel=0.01)
