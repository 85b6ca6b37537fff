"""methods/fcf/state.py: ADMM's steps against a literal transcription, row by row in float64."""

import pytest
import torch

from mmcompress.methods.fcf.state import ADMMState

LENGTHS, WIDTHS = [5, 8, 3], [2, 5, 1]


def capped_simplex(x, k):
    """By bisection on tau: nothing in common with the way of admm.py."""
    low, high = x.min() - 1, x.max()
    for _ in range(200):
        tau = (low + high) / 2
        if (x - tau).clamp(0, 1).sum() > k:
            low = tau
        else:
            high = tau
    return (x - high).clamp(0, 1)


class Literal:
    """One row of Li et al. (CVPR 2019), Algorithm 1, in its own words."""

    def __init__(self, v, k, rho, rho_max, mu, alpha):
        self.v, self.k, self.rho = v.double(), k, rho
        self.rho_max, self.mu, self.alpha = rho_max, mu, alpha
        self.y1 = self.y2 = torch.zeros_like(self.v)

    def gradient(self, loss_gradient):
        n = len(self.v)
        self.z1 = capped_simplex(self.v + self.y1 / self.rho, self.k)
        x = self.v + self.y2 / self.rho
        self.z2 = 0.5 + n**0.5 / 2 * (x - 0.5) / torch.linalg.vector_norm(x - 0.5)
        g = self.y1 + self.y2 + self.rho * (2 * self.v - self.z1 - self.z2)
        return self.alpha * g + (1 - self.alpha) * loss_gradient.double()

    def after(self, v):
        self.v = v.double()
        self.y1 = self.y1 + self.rho * (self.v - self.z1)
        self.y2 = self.y2 + self.rho * (self.v - self.z2)
        if self.rho < self.rho_max:
            self.rho = self.mu * self.rho


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
@pytest.mark.parametrize('alpha', [0.0, 0.65, 1.0])
def test_steps(dtype, alpha):
    tolerance = dict(rtol=0, atol=1e-11 if dtype == torch.float64 else 1e-4)
    state = ADMMState(LENGTHS, rho=0.3, rho_max=0.5, mu=1.1, alpha=alpha).to(dtype)
    rows = [torch.ones(n, dtype=dtype) for n in LENGTHS]
    literal = [Literal(v, k, 0.3, 0.5, 1.1, alpha) for v, k in zip(rows, WIDTHS, strict=True)]
    for _ in range(12):
        gradients = [torch.randn_like(v) for v in rows]
        blended = state.unpad(
            state.blend(state.pad(rows), state.pad(gradients), torch.tensor(WIDTHS)), LENGTHS
        )
        for one, other, gradient in zip(blended, literal, gradients, strict=True):
            torch.testing.assert_close(one.double(), other.gradient(gradient), **tolerance)
        rows = [v - 0.1 * g for v, g in zip(rows, blended, strict=True)]
        state.ascend(state.pad(rows))
        for v, other in zip(rows, literal, strict=True):
            other.after(v)
        for name in ('y1', 'y2', 'z1', 'z2'):
            parts = state.unpad(getattr(state, name), LENGTHS)
            for part, other in zip(parts, literal, strict=True):
                torch.testing.assert_close(part.double(), getattr(other, name), **tolerance)
            assert not getattr(state, name)[~state.mask].any(), 'padding is no scalar'
        assert float(state.rho) == pytest.approx(literal[0].rho, rel=1e-6)
        first, second = state.residuals(state.pad(rows))
        z1, z2 = (torch.cat([getattr(o, z) for o in literal]) for z in ('z1', 'z2'))
        v = torch.cat(rows).double()
        assert float(first) == pytest.approx(float((v - z1).abs().max()), abs=1e-4)
        assert float(second) == pytest.approx(float((v - z2).abs().max()), abs=1e-4)
    # Six factors of 1.1 lead past 0.5, by less than one of them.
    assert float(state.rho) == pytest.approx(0.3 * 1.1**6, rel=1e-6)


def test_in_the_centre_of_the_sphere_the_last_projection_counts():
    state = ADMMState([4], 1.0, 1.0, 1.0, 1.0)
    k = torch.tensor([2])
    v = torch.tensor([[0.1, 0.9, 0.3, 0.6]])
    state.blend(v, torch.zeros_like(v), k)
    before = state.z2.clone()
    state.blend(torch.full((1, 4), 0.5), torch.zeros_like(v), k)
    assert torch.equal(state.z2, before)
    assert (before - 0.5).norm() == pytest.approx(1.0, abs=1e-6)


def test_pad_and_unpad():
    state = ADMMState([2, 4, 1], 1.0, 1.0, 1.0, 1.0)
    flat = torch.arange(1.0, 8.0)
    rows = state.pad([flat[:6], flat[6:]])
    assert rows.tolist() == [[1, 2, 0, 0], [3, 4, 5, 6], [7, 0, 0, 0]]
    one, other = state.unpad(rows, [6, 1])
    assert torch.equal(torch.cat([one, other]), flat)


def test_everything_that_the_next_step_needs_is_saved():
    state = ADMMState(LENGTHS, 0.3, 6.0, 1.01, 0.5)
    v = state.pad([torch.rand(n) for n in LENGTHS])
    k = torch.tensor(WIDTHS)
    for _ in range(3):
        state.blend(v, torch.zeros_like(v), k)
        state.ascend(v)
    assert set(state.state_dict()) == {'y1', 'y2', 'z1', 'z2', 'rho', 'evidence'}
    twin = ADMMState(LENGTHS, 0.3, 6.0, 1.01, 0.5)
    twin.load_state_dict(state.state_dict())
    half = torch.full_like(v, 0.5) - state.y2 / state.rho.float()  # may need the last z2
    for rows in (v, half):
        one, other = (s.blend(rows, torch.ones_like(v), k) for s in (state, twin))
        assert torch.equal(one, other)
        for s in (state, twin):
            s.ascend(rows)
    for key, value in state.state_dict().items():
        assert torch.equal(value, twin.state_dict()[key]), key
