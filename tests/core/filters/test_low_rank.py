"""core/low_rank.py: the best basis for rows, against torch's SVD."""

import math

import pytest
import torch

from mmcompress.core.filters.low_rank import leading_rows, relative_error


def residual(matrix: torch.Tensor, basis: torch.Tensor) -> float:
    """Norm of what the rows of a basis miss."""
    matrix, basis = matrix.double(), basis.double()
    return float(torch.linalg.matrix_norm(matrix - matrix @ basis.T @ basis))


def random(m: int, d: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """Rows whose singular values fall."""
    generator = torch.Generator().manual_seed(m * 100 + d)
    matrix = torch.randn(m, d, generator=generator, dtype=torch.float64)
    return (matrix * torch.arange(1, d + 1) ** -0.5).to(dtype)


def assert_orthonormal(basis: torch.Tensor, atol: float) -> None:
    basis = basis.double()
    eye = torch.eye(len(basis), dtype=torch.float64)
    torch.testing.assert_close(basis @ basis.T, eye, rtol=0, atol=atol)


@pytest.mark.parametrize('shape', [(30, 12), (12, 30), (15, 15)], ids=['tall', 'wide', 'square'])
@pytest.mark.parametrize('rank', [0, 1, 5, 12])
def test_as_good_as_the_svd(shape: tuple[int, int], rank: int) -> None:
    matrix = random(*shape)
    basis = leading_rows(matrix, rank)
    _, values, right = torch.linalg.svd(matrix, full_matrices=False)
    assert basis.shape == (rank, shape[1])
    assert_orthonormal(basis, 1e-12)
    assert residual(matrix, basis) == pytest.approx(float(values[rank:].norm()), abs=1e-10)
    signs = (basis * right[:rank]).sum(1).sign()
    torch.testing.assert_close(basis, right[:rank] * signs[:, None], rtol=0, atol=1e-8)
    assert all(row[row.abs().argmax()] > 0 for row in basis)


@pytest.mark.parametrize('dtype', [torch.float32, torch.float16], ids=str)
def test_type_of_the_input(dtype: torch.dtype) -> None:
    matrix = random(20, 16, dtype)
    basis = leading_rows(matrix, 4)
    assert basis.dtype == dtype
    assert_orthonormal(basis, 4 * torch.finfo(dtype).eps)
    best = float(torch.linalg.svdvals(matrix.double())[4:].norm())
    assert residual(matrix, basis) == pytest.approx(best, rel=1e-6)


@pytest.mark.parametrize('shape', [(40, 12), (6, 12), (3, 12), (0, 12)])
def test_more_rows_than_the_matrix_has_rank(shape: tuple[int, int]) -> None:
    matrix = random(*shape)
    matrix[2:] = matrix[:1]
    for rank in (2, 5, 12):
        basis = leading_rows(matrix, rank)
        assert basis.shape == (rank, 12)
        assert_orthonormal(basis, 1e-12)
        assert residual(matrix, basis) < 1e-7 * max(float(matrix.norm()), 1e-9)


@pytest.mark.parametrize('scale', [1e-30, 1e30, 0])
def test_any_scale(scale: float) -> None:
    matrix = (random(9, 20) * scale).float()
    basis = leading_rows(matrix, 3)
    assert_orthonormal(basis, 1e-6)
    torch.testing.assert_close(basis, leading_rows(matrix, 3), rtol=0, atol=0)
    if scale:
        torch.testing.assert_close(basis, leading_rows(random(9, 20), 3).float())


def test_exact_rank() -> None:
    matrix = (random(60, 5) @ random(5, 40)).float()
    missed = relative_error([matrix], [matrix @ (b := leading_rows(matrix, 5)).T @ b])
    assert missed < 3e-7
    assert residual(matrix, leading_rows(matrix, 5)) < 1e-7 * float(matrix.norm())
    assert residual(matrix, leading_rows(matrix, 4)) > 1e-3 * float(matrix.norm())


@pytest.mark.parametrize('rank', [-1, 5])
def test_no_such_rank(rank: int) -> None:
    with pytest.raises(ValueError, match=f'rank is {rank}; in 4 dimensions .* from 0 to 4'):
        leading_rows(torch.randn(9, 4), rank)


def test_relative_error_over_all_layers() -> None:
    weights = [torch.tensor([3.0, 0.0]), torch.tensor([[4.0]])]
    fitted = [torch.tensor([3.0, 1.0]), torch.tensor([[2.0]])]
    assert relative_error(weights, fitted) == pytest.approx(math.sqrt(5) / 5)
    assert relative_error(weights, weights) == 0
    zero = [torch.zeros(2)]
    assert relative_error(zero, zero) == 0
    assert relative_error(zero, [torch.ones(2)]) == math.inf
    with pytest.raises(ValueError, match='argument 2 is shorter'):
        relative_error(weights, fitted[:1])
