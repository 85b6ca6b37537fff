"""methods/fcf/admm.py against OSQP, and against the formulas written out in float64."""

import numpy as np
import osqp
import pytest
import scipy.sparse as sparse
import torch
from torch.nn.utils.rnn import pad_sequence

from mmcompress.core.channels.choose import keep_largest
from mmcompress.methods.fcf.admm import (
    admm_gradient,
    next_rho,
    project_capped_simplex,
    project_sphere,
    update_duals,
)

SIZES = [5, 7, 8, 16, 33, 64, 100, 128, 180, 256]
KINDS = ['random', 'ties', 'all equal', 'k = 0', 'k = n']
#: What runs in every training step.
HOT = {
    'simplex': lambda x, k, mask: project_capped_simplex(x, k, mask, check=False),
    'sphere': lambda x, k, mask: project_sphere(x, mask, x),
    'gradient': lambda x, k, mask: admm_gradient(x, x, x, x, x, x.new_ones(())),
    'duals': lambda x, k, mask: update_duals(x, x, x, x, x, x.new_ones(()))[0],
    'rho': lambda x, k, mask: next_rho(x.sum(), 1.01, 6.0),
}


def problem(generator, kind, n):
    """A row, scales from 0.01 to 300, and its k."""
    x = generator.normal(0.5, 10 ** generator.uniform(-2, 2.5), n)
    if kind == 'ties':
        x = np.round(4 * x) / 4
    elif kind == 'all equal':
        x[:] = x[0]
    k = {'k = 0': 0, 'k = n': n}.get(kind, generator.integers(1, n))
    return torch.from_numpy(x), int(k)


def quadratic_program(x, k):
    """The projection as OSQP finds it."""
    n = len(x)
    solver = osqp.OSQP()
    solver.setup(
        sparse.eye(n, format='csc'),
        -x.numpy(),
        sparse.vstack([sparse.eye(n), np.ones((1, n))], format='csc'),
        np.append(np.zeros(n), k),
        np.append(np.ones(n), k),
        verbose=False,
        eps_abs=1e-9,
        eps_rel=1e-9,
        polishing=True,
        max_iter=100000,
        # With one feasible point only (k = n) it else takes some problems for infeasible.
        eps_prim_inf=1e-12,
    )
    result = solver.solve(raise_error=True)
    assert result.info.status == 'solved'
    return torch.from_numpy(result.x)


@pytest.mark.parametrize('kind', KINDS)
def test_simplex_equals_osqp(kind):
    generator = np.random.default_rng(KINDS.index(kind))
    for n in SIZES:
        for _ in range(20):
            x, k = problem(generator, kind, n)
            difference = project_capped_simplex(x, k) - quadratic_program(x, k)
            assert difference.abs().max() < 1e-6, (x, k)


@pytest.mark.parametrize('kind', KINDS)
def test_simplex_satisfies_the_optimality_conditions(kind):
    generator = np.random.default_rng(10 + KINDS.index(kind))
    for n in [2, 3, *SIZES]:
        for _ in range(20):
            x, k = problem(generator, kind, n)
            z = project_capped_simplex(x, k)
            assert z.min() >= 0
            assert z.max() <= 1
            assert abs(z.sum() - k) < 1e-9
            # There's a tau with x - z = tau inside, x - z <= tau at 0 and x - z >= tau at 1.
            shift = x - z
            if 0 < k < n:
                assert shift[z < 1].max() <= shift[z > 0].min() + 1e-10


def test_simplex_by_hand():
    x = torch.tensor([-1.0, 0.9, 0.4, 2.0])
    torch.testing.assert_close(project_capped_simplex(x, 2), torch.tensor([0.0, 0.75, 0.25, 1.0]))
    torch.testing.assert_close(project_capped_simplex(torch.ones(8), 3), torch.full((8,), 0.375))
    binary = torch.tensor([1.0, 0, 0, 1, 1])
    assert torch.equal(project_capped_simplex(binary, 3), binary)
    assert torch.equal(project_capped_simplex(torch.tensor([3.7]), 0), torch.zeros(1))
    assert torch.equal(project_capped_simplex(torch.tensor([-3.7]), 1), torch.ones(1))


@pytest.fixture
def rows():
    """Rows of different length, one of them constant, with k and mask."""
    generator = torch.Generator().manual_seed(1)
    rows = [3 * torch.randn(n, generator=generator).double() for n in (5, 64, 17, 256, 64)]
    rows[2][:] = 0.3
    mask = pad_sequence([torch.ones_like(row) for row in rows], batch_first=True).bool()
    # Whatever is in the padding.
    x = pad_sequence(rows, batch_first=True).masked_fill(~mask, 1e3)
    return x, torch.tensor([5, 30, 8, 1, 0]), mask


@pytest.mark.parametrize('name', ['simplex', 'sphere'])
@pytest.mark.parametrize('padding', [1e3, -1e3, torch.nan])
def test_a_batch_equals_its_rows(rows, name, padding):
    x, k, mask = rows
    x = x.masked_fill(~mask, padding)
    function = HOT[name]
    batch = function(x, k, mask)
    assert (batch[~mask] == 0).all()
    for i, real in enumerate(mask):
        row = x[i, real]
        alone = function(row, int(k[i]), None)
        torch.testing.assert_close(batch[i, real], alone, rtol=0, atol=1e-13)
        torch.testing.assert_close(function(row, k[i], None), alone, rtol=0, atol=0)


def test_more_leading_dimensions(rows):
    x, k, _ = rows
    twice = project_capped_simplex(torch.stack([x, -x]), torch.stack([k, k]))
    torch.testing.assert_close(twice[0], project_capped_simplex(x, k))
    torch.testing.assert_close(twice[1], project_capped_simplex(-x, k))


@pytest.mark.parametrize('scale', [1e-3, 1, 100])
def test_float32_sums_are_k(scale):
    x = scale * torch.randn(50, 2048, generator=torch.Generator().manual_seed(2))
    k = torch.linspace(1, 2047, 50).long()
    z = project_capped_simplex(x, k)
    assert z.dtype == torch.float32
    assert ((z.double().sum(1) - k) / k).abs().max() < 1e-6
    exact = project_capped_simplex(x.double(), k)
    assert (z - exact).abs().max() < 1e-7


@pytest.mark.parametrize(
    ('x', 'k', 'mask', 'message'),
    [
        (torch.zeros(5), 6, None, r'k of row 0 is 6; it has to be from 0 to 5'),
        (torch.zeros(5), -1, None, r'k of row 0 is -1; it has to be from 0 to 5'),
        (torch.zeros(2, 5), torch.tensor([5, 6]), None, r'k of row 1 is 6; .* 0 to 5'),
        (
            torch.zeros(2, 5),
            4,
            torch.tensor([[True] * 5, [True] * 3 + [False] * 2]),
            r'k of row 1 is 4; .* 0 to 3',
        ),
    ],
)
def test_infeasible_k(x, k, mask, message):
    with pytest.raises(ValueError, match=message):
        project_capped_simplex(x, k, mask)


def test_sphere_is_the_formula():
    generator = torch.Generator().manual_seed(3)
    for n in (1, 4, 64, 500):
        x = torch.randn(n, generator=generator, dtype=torch.float64)
        length = sum((a - 0.5) ** 2 for a in x.tolist()) ** 0.5
        expected = [0.5 + n**0.5 / 2 * (a - 0.5) / length for a in x.tolist()]
        z = project_sphere(x)
        torch.testing.assert_close(z, torch.tensor(expected, dtype=torch.float64))
        assert ((z - 0.5) ** 2).sum() == pytest.approx(n / 4, rel=1e-12)
        torch.testing.assert_close(project_sphere(x.float()), z.float())


def test_the_sphere_s_centre_keeps_the_last_point():
    x = torch.tensor([[0.5, 0.5, 7.0], [0.5, 0.5, 0.5], [0.5, 1.0, 0.5]])
    mask = torch.tensor([[True, True, False], [True] * 3, [True] * 3])
    previous = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 1.0], [9.0, 9.0, 9.0]])
    radius = 3**0.5 / 2
    moved = [0.5, 0.5 + radius, 0.5]
    expected = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 1.0], moved])
    torch.testing.assert_close(project_sphere(x, mask, previous), expected)
    expected = torch.tensor([[0.5, 0.5, 0.0], [0.5, 0.5, 0.5], moved])
    torch.testing.assert_close(project_sphere(x, mask), expected)


def test_gradient_and_duals_are_the_formulas():
    generator = torch.Generator().manual_seed(4)
    rows = torch.randn(5, 3, 7, generator=generator, dtype=torch.float64)
    rho = 0.37
    for i in range(3):
        for j in range(7):
            v, z1, z2, y1, y2 = (float(t[i, j]) for t in rows)
            gradient = y1 + y2 + rho * (2 * v - z1 - z2)
            duals = (y1 + rho * (v - z1), y2 + rho * (v - z2))
            for penalty in (rho, torch.tensor(rho, dtype=torch.float64)):
                assert float(admm_gradient(*rows, penalty)[i, j]) == pytest.approx(gradient)
                found = [float(dual[i, j]) for dual in update_duals(*rows, penalty)]
                assert found == pytest.approx(duals)


def test_gradient_is_that_of_the_augmented_lagrangian():
    v, z1, z2, y1, y2 = torch.randn(5, 9, dtype=torch.float64)
    v.requires_grad_()
    rho = 1.7
    lagrangian = sum(
        (y * (v - z)).sum() + rho / 2 * ((v - z) ** 2).sum() for y, z in ((y1, z1), (y2, z2))
    )
    torch.testing.assert_close(
        admm_gradient(v, z1, z2, y1, y2, rho), torch.autograd.grad(lagrangian, v)[0]
    )


def test_rho_grows_until_rho_max():
    rho, expected = torch.tensor(0.01, dtype=torch.float64), 0.01
    for _ in range(700):
        rho = next_rho(rho, 1.01, 6.0)
        if expected < 6.0:
            expected *= 1.01
        assert float(rho) == pytest.approx(expected, rel=1e-12)
    assert 6 <= rho < 6.06
    assert rho.shape == ()
    assert rho.dtype == torch.float64


def test_the_steps_together_select_the_cheapest():
    """A linear loss: what FCF's steps end at is binary, and the best binary vector there is."""
    cost = torch.randn(3, 40, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    k = torch.tensor([4, 20, 33])
    v, rho = torch.ones_like(cost), torch.tensor(0.01, dtype=torch.float64)
    y1, y2, z2 = torch.zeros_like(v), torch.zeros_like(v), v
    for _ in range(3000):
        z1 = project_capped_simplex(v + y1 / rho, k, check=False)
        z2 = project_sphere(v + y2 / rho, previous=z2)
        v = v - 0.1 * (0.9 * admm_gradient(v, z1, z2, y1, y2, rho) + 0.1 * cost)
        y1, y2 = update_duals(v, z1, z2, y1, y2, rho)
        rho = next_rho(rho, 1.01, 6.0)
    assert (v - v.round()).abs().max() < 1e-3
    assert torch.equal(v.round(), keep_largest(-cost, k))


@pytest.mark.parametrize('name', HOT)
def test_a_step_waits_for_no_device(name):
    """On the meta device, whatever asks for a value fails."""
    x, k = torch.ones(3, 5, device='meta'), torch.ones(3, dtype=torch.long, device='meta')
    assert HOT[name](x, k, x > 0).is_meta


@pytest.mark.parametrize('name', HOT)
def test_nothing_is_differentiated_or_changed(name, rows):
    x, k, mask = rows
    x = torch.where(mask, x, 0).requires_grad_()
    before = x.detach().clone()
    assert not HOT[name](x, k, mask).requires_grad
    assert torch.equal(x, before)
