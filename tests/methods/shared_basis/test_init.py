"""methods/shared_basis/init.py: shared and unique filters from dense weights."""

from itertools import islice, pairwise

import pytest
import torch
from torch import Tensor

from mmcompress.core.errors import CompressionError
from mmcompress.core.filters.low_rank import relative_error
from mmcompress.methods.shared_basis.init import fit_shared_basis, orthogonal_, sweeps


def random(layers: int = 4, n: int = 10, c: int = 4) -> list[Tensor]:
    generator = torch.Generator().manual_seed(layers)
    return [torch.randn(n, c, 3, 3, generator=generator).double() for _ in range(layers)]


def merged(fit: tuple[Tensor, list[Tensor], list[Tensor]]) -> list[Tensor]:
    """Literally: filter o of layer l is a sum over all its basis filters."""
    shared, unique, coefficients = fit
    return [
        torch.stack(
            [
                sum(c * f for c, f in zip(row, [*shared, *own], strict=True))
                for row in layer_coefficients
            ]
        )
        for own, layer_coefficients in zip(unique, coefficients, strict=True)
    ]


@pytest.mark.parametrize(('shared', 'unique'), [(5, 2), (1, 6), (6, 0), (0, 6)])
def test_shapes_and_orthonormal_filters(shared: int, unique: int) -> None:
    weights = random()
    fit = fit_shared_basis(weights, shared, unique)
    assert fit[0].shape == (shared, 4, 3, 3)
    assert [u.shape for u in fit[1]] == [(unique, 4, 3, 3)] * 4
    assert [c.shape for c in fit[2]] == [(10, shared + unique)] * 4
    for own in fit[1]:
        rows = torch.cat([fit[0], own]).flatten(1)
        eye = torch.eye(shared + unique).double()
        torch.testing.assert_close(rows @ rows.T, eye, rtol=0, atol=1e-10)


def test_shared_filters_alone_are_the_svd_of_all_layers() -> None:
    weights = random()
    stacked = torch.cat(weights).flatten(1)
    best = torch.linalg.svdvals(stacked)[7:].norm() / stacked.norm()
    error = relative_error(weights, merged(fit_shared_basis(weights, 7, 0)))
    assert error == pytest.approx(float(best), abs=1e-12)


def test_unique_filters_alone_are_the_svd_of_each_layer() -> None:
    weights = random()
    missed = torch.cat([torch.linalg.svdvals(w.flatten(1))[7:] for w in weights]).norm()
    error = relative_error(weights, merged(fit_shared_basis(weights, 0, 7)))
    assert error == pytest.approx(float(missed / torch.cat(weights).norm()), abs=1e-12)


def test_one_layer_is_its_svd() -> None:
    weights = random(1)
    best = torch.linalg.svdvals(weights[0].flatten(1))[6:].norm() / weights[0].norm()
    error = relative_error(weights, merged(fit_shared_basis(weights, 4, 2)))
    assert error == pytest.approx(float(best), abs=1e-12)


def test_between_what_shared_and_unique_filters_alone_can_do() -> None:
    weights = random()
    alone, both, each = (
        relative_error(weights, merged(fit_shared_basis(weights, s, u)))
        for s, u in ((6, 0), (4, 2), (0, 6))
    )
    assert each < both < alone
    # Of what is unique, more helps more than as much that is shared.
    assert both < relative_error(weights, merged(fit_shared_basis(weights, 4, 1)))


@pytest.mark.parametrize(('shared', 'unique'), [(6, 1), (4, 4), (2, 6)])
def test_exact_answers_are_found(shared: int, unique: int) -> None:
    weights = []
    common = torch.randn(shared, 4, 3, 3)
    for _ in range(4):
        basis = torch.cat([common, torch.randn(unique, 4, 3, 3)])
        weights.append((torch.randn(12, shared + unique) @ basis.flatten(1)).view(12, 4, 3, 3))
    fit = fit_shared_basis(weights, shared, unique)
    assert fit[0].dtype == torch.float32
    assert relative_error(weights, merged(fit)) < 5e-7
    # With one filter less it isn't exact.
    assert relative_error(weights, merged(fit_shared_basis(weights, shared - 1, unique))) > 1e-3


def test_random_filters_are_worse() -> None:
    weights = random()
    error = relative_error(weights, merged(fit_shared_basis(weights, 4, 2)))
    rows = [w.flatten(1) for w in weights]
    for _ in range(5):
        common = torch.randn(4, 36).double()
        bases = [torch.cat([common, torch.randn(2, 36).double()]) for _ in rows]
        found = [w @ torch.linalg.pinv(b) @ b for w, b in zip(rows, bases, strict=True)]
        assert relative_error(rows, found) > 1.1 * error


def test_sweeps_never_get_worse() -> None:
    rows = [w.flatten(1) for w in random()]
    errors = [
        relative_error(
            rows, [c @ torch.cat([s, u]) for u, c in zip(unique, coefficients, strict=True)]
        )
        for s, unique, coefficients in islice(sweeps(rows, 4, 2), 15)
    ]
    assert all(b <= a * (1 + 1e-12) for a, b in pairwise(errors))
    assert errors[-1] < 0.999 * errors[0]


def test_as_many_filters_as_a_layer_has() -> None:
    weights = random(2, n=6)
    assert relative_error(weights, merged(fit_shared_basis(weights, 6, 6))) < 1e-12


def test_errors() -> None:
    with pytest.raises(CompressionError, match=r'of one shape, not \(4, 3, 3\), \(5, 3, 3\)'):
        fit_shared_basis(random(1) + random(1, c=5), 2, 1)
    for shared, unique in ((0, 0), (36, 1), (-1, 3)):
        says = f'{shared} shared and {unique} unique filters; .* 36 weights need 1 to 36'
        with pytest.raises(CompressionError, match=says):
            fit_shared_basis(random(1), shared, unique)


def test_orthogonal_together() -> None:
    tensors = [torch.empty(5, 4, 3, 3), torch.empty(7, 4, 3, 3, dtype=torch.float64)]
    orthogonal_(tensors)
    rows = torch.cat([t.double() for t in tensors]).flatten(1)
    torch.testing.assert_close(rows @ rows.T, torch.eye(12).double(), rtol=0, atol=1e-6)
    before = [t.clone() for t in tensors]
    orthogonal_(tensors)
    assert not torch.equal(before[0], tensors[0])


def test_more_rows_than_dimensions() -> None:
    """Columns are orthonormal: of all rows, (B B^T - I)^2 is smallest in sum."""
    tensors = [torch.empty(7, 2, 2, 1), torch.empty(3, 2, 2, 1)]
    orthogonal_(tensors)
    rows = torch.cat(tensors).flatten(1)
    torch.testing.assert_close(rows.T @ rows, torch.eye(4), rtol=0, atol=1e-6)
    # The eigenvalues of B B^T are four times 1, and six times 0 whatever the rows are.
    assert float((rows @ rows.T - torch.eye(10)).square().sum()) == pytest.approx(6, abs=1e-5)


def test_rows_of_different_length() -> None:
    with pytest.raises(ValueError, match=r'rows have \[9, 18\] entries'):
        orthogonal_([torch.empty(2, 1, 3, 3), torch.empty(2, 2, 3, 3)])
