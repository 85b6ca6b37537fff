"""methods/filter_basis/init.py against the SVD of the stacked sub-filters."""

from itertools import islice, pairwise

import pytest
import torch
from torch import Tensor

from mmcompress.core.errors import CompressionError
from mmcompress.core.filters.low_rank import relative_error
from mmcompress.methods.filter_basis.init import fit_filter_basis, sweeps

#: (n, c) of the layers of a unit.
UNITS = {'one layer': [(12, 8)], 'same': [(8, 8)] * 3, 'mixed': [(6, 4), (8, 16), (10, 8)]}


def random(layers: list[tuple[int, int]], kernel: tuple[int, int] = (3, 3)) -> list[Tensor]:
    generator = torch.Generator().manual_seed(len(layers))
    return [torch.randn(n, c, *kernel, generator=generator).double() for n, c in layers]


def merge_filter_basis(basis: Tensor, coefficients: Tensor) -> Tensor:
    """The dense kernel, ``W[o, i * s + r] = sum_q coefficients[o, i * b + q] basis[q, r]``."""
    filters = coefficients.reshape(-1, len(basis)) @ basis.flatten(1)
    return filters.view(len(coefficients), -1, *basis.shape[2:])


def merged(fit: tuple[Tensor, list[Tensor]], weights: list[Tensor]) -> list[Tensor]:
    """What a fit makes of the weights; of a sliced basis the first channels."""
    basis, coefficients = fit
    return [
        merge_filter_basis(basis[:, : w.shape[1]], c)
        for w, c in zip(weights, coefficients, strict=True)
    ]


def sub_filters(weights: list[Tensor], size: int) -> Tensor:
    """Literally: channels i s to (i + 1) s - 1 of filter o, for all i, o and layers."""
    rows = [
        filters[i : i + size].flatten()
        for weight in weights
        for filters in weight
        for i in range(0, len(filters), size)
    ]
    return torch.stack(rows)


def test_merged_kernel_by_its_formula() -> None:
    b, s, g, n = 3, 2, 4, 5
    basis, coefficients = torch.randn(b, s, 3, 2).double(), torch.randn(n, g * b).double()
    expected = torch.zeros(n, g * s, 3, 2).double()
    for o in range(n):
        for i in range(g):
            for r in range(s):
                for q in range(b):
                    expected[o, i * s + r] += coefficients[o, i * b + q] * basis[q, r]
    torch.testing.assert_close(merge_filter_basis(basis, coefficients), expected)


@pytest.mark.parametrize('name', UNITS)
@pytest.mark.parametrize('size', [2, 4])
@pytest.mark.parametrize('count', [1, 7, 18])
def test_nothing_is_nearer(name: str, size: int, count: int) -> None:
    weights = random(UNITS[name])
    fit = fit_filter_basis(weights, size, count)
    assert fit[0].shape == (count, size, 3, 3)
    assert [c.shape for c in fit[1]] == [(w.shape[0], w.shape[1] // size * count) for w in weights]
    stacked = sub_filters(weights, size)
    best = torch.linalg.svdvals(stacked)[count:].norm() / stacked.norm()
    error = relative_error(weights, merged(fit, weights))
    assert error == pytest.approx(float(best), abs=1e-12)
    # Random bases, with the best coefficients for them.
    for _ in range(5):
        basis = torch.randn(count, size * 9).double()
        other = stacked @ torch.linalg.pinv(basis) @ basis
        assert float((stacked - other).norm() / stacked.norm()) > error or error < 1e-12


@pytest.mark.parametrize('size', [4, None])
def test_exact_rank(size: int | None) -> None:
    basis = torch.randn(5, 4, 3, 3)
    weights = [merge_filter_basis(basis, torch.randn(9, g * 5)) for g in ((1, 2) if size else (1,))]
    found = merged(fit_filter_basis(weights, size, 5), weights)
    assert found[0].dtype == torch.float32
    assert relative_error(weights, found) < 3e-7
    assert relative_error(weights, merged(fit_filter_basis(weights, size, 4), weights)) > 0.1


@pytest.mark.parametrize('kernel', [(1, 1), (1, 3)])
def test_other_kernels(kernel: tuple[int, int]) -> None:
    weights = random([(6, 8)], kernel)
    count = 4 * kernel[0] * kernel[1]
    fit = fit_filter_basis(weights, 4, count)
    assert fit[0].shape == (count, 4, *kernel)
    assert relative_error(weights, merged(fit, weights)) < 1e-12


def dense_net() -> list[Tensor]:
    """As layers of a dense block: each sees 4 channels more than the one before."""
    return random([(4, 8 + 4 * i) for i in range(6)])


def test_slices() -> None:
    weights = dense_net()
    basis, coefficients = fit = fit_filter_basis(weights, None, 10)
    assert basis.shape == (10, 28, 3, 3)
    assert [c.shape for c in coefficients] == [(4, 10)] * 6
    error = relative_error(weights, merged(fit, weights))
    # For this basis, coefficients are the best.
    for weight, c in zip(weights, coefficients, strict=True):
        used = basis[:, : weight.shape[1]].flatten(1)
        best = torch.linalg.lstsq(used.T, weight.flatten(1).T).solution.T
        torch.testing.assert_close(c, best, rtol=0, atol=1e-9)
    for _ in range(5):
        other = torch.randn_like(basis)
        best = [
            weight.flatten(1) @ torch.linalg.pinv(other[:, : weight.shape[1]].flatten(1))
            for weight in weights
        ]
        assert relative_error(weights, merged((other, best), weights)) > 1.05 * error
    # Better than where it started.
    first = next(sweeps([w.flatten(1) for w in weights], 10))
    start = (first[0].view_as(basis), first[1])
    assert error < 0.99 * relative_error(weights, merged(start, weights))


def test_sweeps_never_get_worse() -> None:
    weights = dense_net()
    rows = [w.flatten(1) for w in weights]
    errors = [
        relative_error(
            rows,
            [c @ basis[:, : w.shape[1]] for w, c in zip(rows, coefficients, strict=True)],
        )
        for basis, coefficients in islice(sweeps(rows, 10), 12)
    ]
    assert all(b <= a * (1 + 1e-12) for a, b in pairwise(errors))
    assert errors[-1] < 0.99 * errors[0]


def test_slices_of_one_width_are_the_plain_fit() -> None:
    weights = random(UNITS['same'])
    plain, sliced = (merged(fit_filter_basis(weights, size, 9), weights) for size in (8, None))
    torch.testing.assert_close(plain, sliced, rtol=0, atol=1e-10)


def test_errors() -> None:
    with pytest.raises(CompressionError, match='basis_size is 4; .* divide the 6 channels'):
        fit_filter_basis(random([(4, 8), (4, 6)]), 4, 2)
    with pytest.raises(CompressionError, match='num_filters is 19; .* 18 weights .* 1 to 18'):
        fit_filter_basis(random([(4, 8)]), 2, 19)
    with pytest.raises(CompressionError, match='kernels of one size, not 3x3, 1x1'):
        fit_filter_basis(random([(4, 8)]) + random([(4, 8)], (1, 1)), 4, 2)
